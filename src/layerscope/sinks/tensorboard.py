"""What TensorBoard shows: the sheets of all frames, and how the values of each layer lie, a step a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerscope.extras import require
from layerscope.sinks.png import encode_png
from layerscope.sinks.segments import Segments
from layerscope.sinks.views import Look, take_view

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.manifest import FrameRecord, LayerRecord
    from layerscope.sinks.sink import Ending, Target, Write

__all__ = ["TensorBoard"]

FILE = "tensorboard/events.out.tfevents.0.layerscope"
"""TensorBoard finds a file by the middle of its name; a time in it would make two equal runs differ."""


class TensorBoard:
    """Writes one events file: a layer's sheet, and its smallest and largest value and share of zeros.

    The step is the frame's place in the run, and the time that of the frame in its video.

    Args:
        look: How values become pixels.
    """

    kind = "tensorboard"
    draws = True

    def __init__(self, look: Look) -> None:
        self.look = look

    @property
    def colormap(self) -> str:
        """The colour map's name."""
        return self.look.colours

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write | None:
        """Keep the bytes."""
        draw = take_view("sheets", feature_map, scaled, self.look)
        if draw is None:
            return None

        def give(target: Target) -> tuple[tuple[int, int], bytes]:
            sheet = draw(target.layer)
            return (sheet.shape[0], sheet.shape[1]), encode_png(sheet)

        return give

    def begin(self, folder: Path, encoders: Executor) -> _Gathering:  # noqa: ARG002 - pictures come encoded
        """Begin, or go on."""
        require("tensorboard", "tensorboard")
        return _Gathering(folder)


class _Gathering:
    """The events of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._events = Segments(folder / "events")

    def add(self, row: int, frame: FrameRecord, pieces: Mapping[str, tuple[tuple[int, int], bytes]]) -> None:
        """Note a frame's events."""
        proto = require("tensorboard.compat.proto.summary_pb2", "tensorboard")
        values = [value for layer in frame.layers for value in _numbers(layer, proto)]
        for layer, ((height, width), content) in pieces.items():
            image = proto.Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
            values.append(proto.Summary.Value(tag=f"sheets/{layer}", image=image))
        event = require("tensorboard.compat.proto.event_pb2", "tensorboard").Event(
            wall_time=frame.time_s if frame.time_s is not None else row, step=row, summary=proto.Summary(value=values)
        )
        self._events.add(row, event.SerializeToString())

    def flush(self) -> None:
        """End the file that is being written."""
        self._events.flush()

    def close(self) -> None:
        """Let go of it."""
        self._events.close()

    def finish(self, ending: Ending) -> Mapping[str, Mapping[str, str]]:
        """Write the events file."""
        records = require("tensorboard.summary.writer.record_writer", "tensorboard")
        first = require("tensorboard.compat.proto.event_pb2", "tensorboard").Event(file_version="brain.Event:2")
        whole = self._folder / "whole"
        with whole.open("wb") as stream:
            writer = records.RecordWriter(stream)
            writer.write(first.SerializeToString())
            for _, event in self._events:
                writer.write(event)
        (ending.out / FILE).parent.mkdir(exist_ok=True)
        whole.replace(ending.out / FILE)
        return {"tensorboard": {"": FILE}}


def _numbers(layer: LayerRecord, proto: Any) -> list[Any]:
    """Say how a layer's values lie."""
    numbers = {"min": layer.min, "max": layer.max}
    if layer.channels is not None and layer.channels.zeros:
        numbers["zeros"] = sum(layer.channels.zeros) / len(layer.channels.zeros)
    return [
        proto.Summary.Value(tag=f"{layer.layer}/{name}", simple_value=number)
        for name, number in numbers.items()
        if number is not None
    ]
