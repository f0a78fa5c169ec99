"""All sinks of a whole run at once: what they are given, when it is safe on the disk, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from layerscope.sinks.folders import layer_folders
from layerscope.sinks.sink import FLUSH_EVERY, Ending, RunSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Executor
    from pathlib import Path
    from typing import Any

    from layerscope.sinks.manifest import FrameRecord, Manifest
    from layerscope.sinks.sink import Sink

__all__ = ["FLUSH_EVERY", "Gathered", "show_times"]


class Gathered:
    """The sinks of a whole run among some sinks.

    Args:
        sinks: All sinks.
        folder: A hidden folder for what is not finished.
        encoders: Threads for work that can be done side by side.
        fps: Frames a second where they have no times of their own.
    """

    def __init__(self, sinks: Iterable[Sink], folder: Path, encoders: Executor, *, fps: float) -> None:
        self._parts = {}
        self._fps = fps
        for sink in sinks:
            if isinstance(sink, RunSink):
                own = folder / sink.kind
                own.mkdir(exist_ok=True)
                self._parts[sink.kind] = sink.begin(own, encoders)

    def add(self, row: int, frame: FrameRecord, pieces: Mapping[str, Mapping[str, Any]]) -> bool:
        """Take a frame; return whether all frames so far are safe on the disk.

        Args:
            row: Its place among the run's frames.
            frame: What the manifest says of it.
            pieces: Kinds to layers to what is put together.
        """
        for kind, part in self._parts.items():
            part.add(row, frame, pieces.get(kind, {}))
        if not self._parts or (row + 1) % FLUSH_EVERY:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Have all frames so far safe on the disk."""
        for part in self._parts.values():
            part.flush()

    def close(self) -> None:
        """Let go of open files."""
        for part in self._parts.values():
            part.close()

    def finish(self, out: Path, head: Manifest, frames: Callable[[], Iterator[FrameRecord]]) -> Manifest:
        """Put everything in its place and return the manifest that names it."""
        if not self._parts:
            return head
        times_s = show_times(frames(), self._fps)
        folders = layer_folders({layer.layer: None for frame in frames() for layer in frame.layers})
        for part in self._parts.values():
            made = part.finish(Ending(out=out, head=head, frames=frames, folders=folders, times_s=times_s))
            series = {**head.series, **{kind: dict(paths) for kind, paths in made.items()}}
            head = msgspec.structs.replace(head, series=series)
        return head


def show_times(frames: Iterable[FrameRecord], fps: float) -> list[float]:
    """Say when each frame is shown where they follow one another, and when the last one ends.

    Frames of one video keep their distances; any other follows after the last known distance.

    Args:
        frames: In order.
        fps: Frames a second where they have no times.

    Returns:
        Seconds from the first frame: one number a frame, and the end.
    """
    times_s, distance_s, before = [0.0], 1 / fps, None
    for frame in frames:
        if before is not None:
            if frame.time_s is None or before.time_s is None:
                distance_s = 1 / fps
            elif frame.file == before.file and frame.time_s > before.time_s:
                distance_s = frame.time_s - before.time_s
            times_s.append(times_s[-1] + distance_s)
        before = frame
    return [*times_s, times_s[-1] + distance_s]
