"""A timeline: a run per logged step, and one file that lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from layerscope.errors import LayerError, RunFolderError, nearest
from layerscope.sinks.folders import move_into, staging
from layerscope.sinks.manifest import Record
from layerscope.sinks.run_folder import Run, open_run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "FILE_NAME",
    "StepRecord",
    "Timeline",
    "TimelineRecord",
    "describe_timeline",
    "open_timeline",
    "write_timeline",
]

FILE_NAME = "timeline.json"
VERSION = 1


class StepRecord(Record, frozen=True, kw_only=True):
    """One logged step.

    Attributes:
        step: Its number.
        folder: Its run's folder within the timeline.
        numbers: What was logged with it, such as the loss.
    """

    step: int
    folder: str
    numbers: dict[str, float]


class TimelineRecord(Record, frozen=True, kw_only=True):
    """The whole of ``timeline.json``.

    Attributes:
        version: Of this schema.
        layerscope: The version of Layerscope that wrote it.
        network: What was trained.
        frames: Names of the probe frames.
        steps: In rising order.
    """

    version: int
    layerscope: str
    network: str
    frames: list[str]
    steps: list[StepRecord]


def describe_timeline(network: str, frames: list[str], steps: list[StepRecord]) -> TimelineRecord:
    """Put a timeline's record together."""
    from layerscope import __version__

    return TimelineRecord(version=VERSION, layerscope=__version__, network=network, frames=frames, steps=steps)


def write_timeline(record: TimelineRecord, folder: Path) -> None:
    """Replace ``timeline.json`` as a whole."""
    with staging(folder) as staged:
        text = msgspec.json.format(msgspec.json.encode(record), indent=1)
        (staged / FILE_NAME).write_bytes(text + b"\n")
        move_into(staged, folder)


def open_timeline(folder: str | Path) -> Timeline:
    """Open what a ``MapLogger`` wrote, also while it goes on writing.

    Raises:
        RunFolderError: The folder holds no timeline, or one that this version cannot read.
    """
    path = Path(folder) / FILE_NAME
    try:
        record = msgspec.json.decode(path.read_bytes(), type=TimelineRecord)
    except OSError:
        raise RunFolderError(f"{folder}: holds no {FILE_NAME}, so it is no timeline") from None
    except msgspec.DecodeError as error:
        raise RunFolderError(f"{path}: is no timeline ({error})") from None
    if record.version != VERSION:
        raise RunFolderError(f"{path}: is of version {record.version}; this Layerscope reads version {VERSION}")
    return Timeline(Path(folder), record)


class Timeline(Mapping[int, Run]):
    """Logged steps to their runs, in rising order.

    Attributes:
        folder: Where it is.
        record: What it says of itself.
    """

    def __init__(self, folder: Path, record: TimelineRecord) -> None:
        self.folder = folder
        self.record = record
        self._folders = {entry.step: entry.folder for entry in record.steps}

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the probe frames."""
        return tuple(self.record.frames)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the last step has maps of."""
        if not self.record.steps:
            return ()
        return tuple(self[self.record.steps[-1].step][self.frames[0]])

    def __getitem__(self, step: int) -> Run:
        if step not in self._folders:
            raise RunFolderError(f"{self.folder}: step {step} was not logged; there are {_some(list(self._folders))}")
        return open_run(self.folder / self._folders[step])

    def __contains__(self, step: object) -> bool:
        return step in self._folders

    def __iter__(self) -> Iterator[int]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)

    def __repr__(self) -> str:
        return f"<Timeline {self.folder}, {len(self)} steps of {self.record.network}>"

    def maps(self, layer: str, frame: str | None = None) -> Iterator[tuple[StepRecord, NDArray[np.float32]]]:
        """Read a layer's maps step by step, (C, H, W) float32.

        Args:
            layer: Its name.
            frame: Which probe frame; None: the first.

        Raises:
            LayerError: There is no such layer.
            RunFolderError: No such frame, or no tensors were kept.
        """
        frame = self.frames[0] if frame is None else frame
        if frame not in self.frames:
            raise RunFolderError(f"no frame {frame!r}; there are {', '.join(self.frames)}{nearest(frame, self.frames)}")
        for entry in self.record.steps:
            layers = open_run(self.folder / entry.folder)[frame]
            if layer not in layers:
                raise LayerError(f"step {entry.step} has no layer {layer!r}{nearest(layer, list(layers))}")
            yield entry, layers[layer].values


def _some(steps: list[int]) -> str:
    if len(steps) <= 6:
        return ", ".join(map(str, steps)) or "none"
    return f"{', '.join(map(str, steps[:3]))}, ..., {steps[-1]}"
