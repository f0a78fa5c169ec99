"""The manifest of a run: what ran, on what, with which scale, and what every channel amounts to.

Its schema is these classes; ``manifest_schema`` gives it as JSON Schema. A new optional field keeps the
version, a changed or removed one raises it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layerscope.inputs import Preparation
    from layerscope.models.network import Network
    from layerscope.sinks.drawing import Drawing
    from layerscope.sinks.sink import Sink

__all__ = [
    "FILE_NAME",
    "VERSION",
    "ChannelRecord",
    "FrameRecord",
    "LayerRecord",
    "Manifest",
    "NetworkRecord",
    "PlacementRecord",
    "PreparationRecord",
    "RenderRecord",
    "describe_run",
    "manifest_schema",
]

VERSION = 1
FILE_NAME = "manifest.json"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The base of every part of the manifest."""


class NetworkRecord(Record, frozen=True, kw_only=True):
    """Which network ran.

    Attributes:
        source: The string that named it.
        weights: Where its weights came from, in words.
        weights_bytes: Size of the weights file; null where they are not from a file.
        bn_eps: Batch norm epsilon that the weights brought; null where they brought none.
    """

    source: str
    weights: str
    weights_bytes: int | None
    bn_eps: float | None

    @classmethod
    def of(cls, net: Network) -> NetworkRecord:
        """Describe a loaded network."""
        weights = net.weights
        return cls(
            source=net.source,
            weights=weights.summary,
            weights_bytes=weights.path.stat().st_size if weights.path else None,
            bn_eps=weights.bn_eps,
        )


class PreparationRecord(Record, frozen=True, kw_only=True):
    """How each picture became the network's input.

    Attributes:
        size_hw: Height and width of the input, pixels.
        resize: ``stretch``, ``letterbox`` or ``crop``.
        crop_share: How much of the resized picture ``crop`` kept.
        filter: How pixels were interpolated.
        order: ``rgb`` or ``bgr``.
        range: ``0-1`` or ``0-255``.
        mean: Subtracted per channel, if any.
        std: Divided by per channel, if any.
        pad: Grey level of a letterbox's border.
    """

    size_hw: tuple[int, int]
    resize: str
    filter: str
    order: str
    range: str
    mean: tuple[float, float, float] | None
    std: tuple[float, float, float] | None
    pad: int
    crop_share: float = 1.0


class RenderRecord(Record, frozen=True, kw_only=True):
    """How values became pixels.

    Attributes:
        scale: The rule's name.
        colormap: The colour map's name, per kind of picture.
        reduce: How overlays and reductions take many channels to one.
    """

    scale: str
    colormap: dict[str, str]
    reduce: str


class ChannelRecord(Record, frozen=True, kw_only=True):
    """Every channel of one layer, as columns: the n-th entry is channel n.

    Attributes:
        min: Smallest finite value as captured; null where there is none.
        max: Largest finite value as captured.
        mean: Mean of the finite values.
        zeros: Share of cells that are zero, 0 to 1.
        constant: Whether all cells are equal.
        finite: Whether no cell is NaN or Inf.
        black: The value drawn as 0.
        white: The value drawn as 255.
    """

    min: list[float | None]
    max: list[float | None]
    mean: list[float | None]
    zeros: list[float]
    constant: list[bool]
    finite: list[bool]
    black: list[float | None]
    white: list[float | None]


class LayerRecord(Record, frozen=True, kw_only=True):
    """What one layer gave for one frame.

    Attributes:
        layer: Its true name.
        shape: Of its output, batch axis dropped.
        dtype: Of its output.
        kind: ``maps``; ``tokens`` on a grid; a ``volume``, whose slices are drawn side by side; a ``line`` or one of
            the ``numbers`` a channel; null for an output that cannot be drawn.
        cells: Rows and columns of a channel, depth before them for a volume, its length for a line.
        apart: How many tokens before those on the grid belong to no place.
        min: Smallest finite value over all channels; null where there is none.
        max: Largest likewise.
        tiles: Path of the tiles within the frame's folder, with ``{channel}`` for the number, and through ``tiles.zip``
            where they are packed; null if none.
        files: Paths of the other files within the frame's folder, by kind (``sheets``, ``overlays``,
            ``reductions``, ``tensors``).
        channels: The numbers of every channel; null for an output that cannot be drawn.
    """

    layer: str
    shape: list[int]
    dtype: str
    kind: str | None = None
    cells: list[int] | None = None
    apart: int = 0
    min: float | None
    max: float | None
    tiles: str | None
    files: dict[str, str]
    channels: ChannelRecord | None


class PlacementRecord(Record, frozen=True, kw_only=True):
    """Where the frame lies in the network's input; see ``layerscope.Placement``."""

    frame_hw: tuple[int, int]
    input_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]


class FrameRecord(Record, frozen=True, kw_only=True):
    """One picture and what the layers gave for it.

    Attributes:
        name: The frame's name.
        file: Name of the picture's or video's file; null for an array.
        time_s: Seconds from the beginning of the video that it is from; null for a picture.
        row: Its place among the run's frames, and so in what holds them all together; null in a run of one.
        folder: Its folder within the run, ``.`` where it is the run's own.
        picture: Path of a small copy of it within that folder; null if none was written.
        placement: Where it lies in the network's input.
        outputs: Shapes of the network's outputs, batch axis included.
        layers: In the order in which they ran.
        silent: Layers that were selected and gave nothing.
    """

    name: str
    file: str | None
    time_s: float | None = None
    row: int | None = None
    folder: str
    picture: str | None = None
    placement: PlacementRecord
    outputs: list[list[int]]
    layers: list[LayerRecord]
    silent: list[str]


class Manifest(Record, frozen=True, kw_only=True):
    """The whole of ``manifest.json``.

    Attributes:
        version: Of this schema.
        layerscope: The version of Layerscope that wrote it.
        network: Which network ran.
        preparation: How pictures became its input; null where that was the caller's work.
        render: How values became pixels.
        asked: Checksum of everything that was asked, which tells whether a run is another's.
        frames: In the order given.
        series: What holds all frames together, by kind and layer: paths within the run's folder. What is all layers'
            stands under the empty name.
        failures: Pictures that could not be read: name to reason.
    """

    version: int
    layerscope: str
    network: NetworkRecord
    preparation: PreparationRecord | None
    render: RenderRecord
    asked: str = ""
    frames: list[FrameRecord]
    series: dict[str, dict[str, str]] = {}
    failures: dict[str, str]


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of ``manifest.json``."""
    return msgspec.json.schema(Manifest)


def describe_run(
    network: NetworkRecord,
    preparation: Preparation | None,
    drawing: Drawing,
    sinks: Iterable[Sink],
    frames: list[FrameRecord],
    failures: dict[str, str],
) -> Manifest:
    """Put a run's manifest together."""
    from layerscope import __version__

    return Manifest(
        version=VERSION,
        layerscope=__version__,
        network=network,
        preparation=PreparationRecord(**dataclasses.asdict(preparation)) if preparation else None,
        render=RenderRecord(
            scale=drawing.scale,
            colormap={sink.kind: sink.colormap for sink in sinks if sink.colormap is not None},
            reduce=drawing.reduce,
        ),
        frames=frames,
        failures=failures,
    )
