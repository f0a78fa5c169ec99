"""What a sink is: it takes a feature map while it exists, and writes it when there is time.

A plain sink writes files of each frame's own. A sink of a whole run (``RunSink``) puts the maps of all frames
together: arrays, videos, a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from layerscope.hooks import FeatureMap
    from layerscope.inputs import Frame
    from layerscope.sinks.manifest import FrameRecord, Manifest

__all__ = ["FLUSH_EVERY", "Ending", "FrameSink", "Gathering", "RunSink", "Sink", "Target", "Write"]

FLUSH_EVERY = 32
"""Frames from one ``flush`` to the next: a run that is killed does at most so many again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a layer's pictures go.

    Attributes:
        folder: The frame's folder, existing.
        layer: The layer's true name.
        layer_folder: Its name as a folder's.
    """

    folder: Path
    layer: str
    layer_folder: str


Write = Callable[[Target], Any]
"""Writes a layer's files and returns their path within the frame's folder, ``{channel}`` standing for the number.

Of a sink of a whole run: returns what its ``Gathering`` is to be given.
"""


class Sink(Protocol):
    """Where feature maps go.

    Attributes:
        kind: Its name, as in ``--write`` and the manifest.
        draws: Whether it makes pictures, so that only what can be drawn comes to it.
    """

    kind: str
    draws: bool

    @property
    def colormap(self) -> str | None:
        """The colour map that it draws with, for the manifest; None where it does not draw."""
        ...

    def take(self, feature_map: FeatureMap, scaled: Any) -> Write | None:
        """Take what is needed of a map.

        Called while the layer's output exists, or on another thread with a copy of it, for several layers at once.
        The next operation may overwrite it, so nothing that shares memory with ``feature_map.values`` may be kept.

        Args:
            feature_map: The map.
            scaled: All its channels as bytes, a ``Scaled`` that nothing overwrites; None, for a sink that does not
                draw, where the output cannot be drawn: it counts items, is complex or empty.

        Returns:
            What writes the files, called later, on another thread; None where there is nothing to write.
        """
        ...


@runtime_checkable
class FrameSink(Sink, Protocol):
    """A sink that has something to do once for each frame."""

    def end_frame(self, folder: Path, frame: Frame) -> str | None:
        """Write what is not one layer's, when all layers of a frame are written.

        Args:
            folder: The frame's folder, as in ``Target``.
            frame: The frame.

        Returns:
            The path within the folder of a small copy of the picture, if it wrote one.
        """
        ...


@runtime_checkable
class RunSink(Sink, Protocol):
    """A sink that puts the maps of all frames together."""

    def begin(self, folder: Path, encoders: Executor) -> Gathering:
        """Begin a run, or go on with one that was stopped.

        Args:
            folder: A hidden folder of its own. What an earlier start left there is still there, as it was at the last
                ``flush`` or later.
            encoders: Threads for work that can be done side by side.
        """
        ...


class Gathering(Protocol):
    """What a sink of a whole run has put together so far."""

    def add(self, row: int, frame: FrameRecord, pieces: Mapping[str, Any]) -> None:
        """Take a frame; frames come in order, and after a resumption from the one after the last flush.

        Args:
            row: Its place among the run's frames.
            frame: What the manifest says of it.
            pieces: Layers to what the sink's own writers returned for them.
        """
        ...

    def flush(self) -> None:
        """Have all frames so far in files, whole, so that nothing is lost if the program is killed now."""
        ...

    def finish(self, ending: Ending) -> Mapping[str, Mapping[str, str]]:
        """Put the result in its place; called again if the program is killed before the run is finished.

        Returns:
            Kinds to layers to paths within the run's folder, for ``Manifest.series``. What is all layers' stands
            under the empty name.
        """
        ...

    def close(self) -> None:
        """Let go of open files, when the run ends, however it ends."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A run at its end, for the sinks that put it together.

    Attributes:
        out: The run's folder.
        head: Its manifest; ``series`` names what the sinks before this one made.
        frames: Gives the records of all frames, in order.
        folders: Layers to their names as folders.
        times_s: When each frame is shown where they follow one another, seconds, and when the last one ends.
    """

    out: Path
    head: Manifest
    frames: Callable[[], Iterator[FrameRecord]]
    folders: Mapping[str, str]
    times_s: list[float]
