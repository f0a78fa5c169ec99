"""What is taken of a layer's output while it exists: bytes for the sinks, numbers for the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.errors import LayerError
from layerscope.render import channel_statistics, to_bytes
from layerscope.sinks.manifest import ChannelRecord, LayerRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.models.axes import Axes
    from layerscope.render import Scaled
    from layerscope.sinks.sink import Sink, Write

__all__ = ["Taken", "take_layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was taken of one output.

    Attributes:
        shape: Of the output, batch axis dropped.
        dtype: Of the output.
        axes: What its axes are; None for an output that cannot be drawn.
        channels: Its numbers; None likewise.
        writes: Per kind of picture what writes the files.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: Axes | None
    channels: ChannelRecord | None
    writes: Mapping[str, Write]

    def record(self, layer: str, paths: Mapping[str, str]) -> LayerRecord:
        """Make the manifest's entry.

        Args:
            layer: The layer's final name.
            paths: Per kind of picture the path that its writer returned.
        """
        columns = self.channels
        return LayerRecord(
            layer=layer,
            shape=list(self.shape),
            dtype=self.dtype,
            kind=self.axes.kind if self.axes else None,
            cells=list(self.axes.cells) if self.axes else None,
            apart=self.axes.apart if self.axes else 0,
            min=min(_known(columns.min), default=None) if columns else None,
            max=max(_known(columns.max), default=None) if columns else None,
            tiles=paths.get("tiles"),
            files={kind: path for kind, path in paths.items() if kind != "tiles"},
            channels=columns,
        )


def take_layer(feature_map: FeatureMap, sinks: Sequence[Sink], scale: str) -> Taken:
    """Take what the sinks and the manifest need, so that the output itself need not be kept.

    Args:
        feature_map: The map, whose memory the next operation may overwrite.
        sinks: Where it goes.
        scale: A scale's name.
    """
    values = feature_map.values
    shape, dtype = tuple(values.shape), str(values.dtype).removeprefix("torch.")
    axes = _axes(feature_map)
    if axes is None:
        writes = _writes(feature_map, None, [sink for sink in sinks if not sink.draws and not values.is_complex()])
        return Taken(shape=shape, dtype=dtype, axes=None, channels=None, writes=writes)
    maps = feature_map.maps
    statistics = channel_statistics(maps)
    scaled = to_bytes(maps, scale, extent=statistics)
    channels = ChannelRecord(
        min=_numbers(statistics.min),
        max=_numbers(statistics.max),
        mean=_numbers(statistics.mean),
        zeros=[round(float(share), 6) for share in statistics.zero_share],
        constant=statistics.constant.tolist(),
        finite=statistics.finite.tolist(),
        black=_numbers(scaled.low),
        white=_numbers(scaled.high),
    )
    writes = _writes(feature_map, scaled, sinks)
    return Taken(shape=shape, dtype=dtype, axes=axes, channels=channels, writes=writes)


def _axes(feature_map: FeatureMap) -> Axes | None:
    """Say how an output is to be drawn; None where it cannot be."""
    if feature_map.values.numel() == 0 or feature_map.values.is_complex():
        return None
    try:
        return feature_map.axes
    except LayerError:
        return None


def _writes(feature_map: FeatureMap, scaled: Scaled | None, sinks: Iterable[Sink]) -> dict[str, Write]:
    taken = {sink.kind: sink.take(feature_map, scaled) for sink in sinks}
    return {kind: write for kind, write in taken.items() if write is not None}


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    """Round to eight digits, what a float32 holds; NaN, where there is no finite value, is null."""
    known = np.isfinite(values) & (values != 0)
    size = np.floor(np.log10(np.abs(values), where=known, out=np.zeros(len(values))))
    digits = np.clip(7 - size, -300, 300)
    up, down = 10.0 ** np.maximum(digits, 0), 10.0 ** np.maximum(-digits, 0)
    rounded = np.rint(values * up / down) / up * down
    return [value if finite else None for value, finite in zip(rounded.tolist(), np.isfinite(values), strict=True)]


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]
