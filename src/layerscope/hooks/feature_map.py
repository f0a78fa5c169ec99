"""What a layer gave for one frame, and the pictures that can be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.errors import LayerError, OptionError, nearest
from layerscope.render import (
    ChannelStatistics,
    Scaled,
    apply_colormap,
    channel_marks,
    channel_statistics,
    default_colormap,
    draw_overlay,
    draw_sheet,
    reduce_channels,
    to_bytes,
)
from layerscope.render.colour import is_grey

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from layerscope.inputs import Frame, Placement

__all__ = ["SORTS", "Channel", "FeatureMap", "as_channels", "sheet_header"]

SORTS = ("max", "mean", "range", "zeros")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureMap:
    """What a layer gave for one frame.

    Attributes:
        layer: The layer's name.
        values: (C, H, W), the batch axis dropped; other ranks are kept as they are.
        frame: The picture.
        placement: Where the picture lies in the network's input.
    """

    layer: str
    values: Tensor
    frame: Frame
    placement: Placement

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.values.shape[0]) if self.values.ndim else 0

    def __getitem__(self, channel: int) -> Channel:
        """Return one channel; negative numbers count from the end."""
        if not -self.channels <= channel < self.channels:
            raise LayerError(f"{self.layer} has channels 0 to {self.channels - 1}, not {channel}")
        return Channel(map=self, number=channel % self.channels)

    def statistics(self) -> ChannelStatistics:
        """Return each channel's range, mean, share of zeros and whether it is constant or not finite."""
        return channel_statistics(as_channels(self.values))

    def scaled(self, scale: str = "channel") -> Scaled:
        """Return all channels as bytes, (C, H, W) uint8, with the values that 0 and 255 stand for."""
        return to_bytes(as_channels(self.values), scale)

    def sheet(self, scale: str = "channel", *, colormap: str | None = None, sort: str | None = None) -> Image:
        """Draw all channels on one picture, each with its number.

        Args:
            scale: ``channel``, ``layer``, ``percentile``, ``symmetric`` or ``unit``.
            colormap: Any name that cmap knows; None: what suits the scale.
            sort: Put the channels with the highest ``max``, ``mean``, ``range`` or share of ``zeros`` first; the
                sheet says so. None: tile n is channel n.
        """
        scaled = self.scaled(scale)
        order = None if sort is None else self._order(sort)
        return draw_feature_sheet(scaled, self.layer, colormap=colormap, order=order, sort=sort)

    def overlay(
        self,
        reduce: str = "mean",
        *,
        scale: str = "channel",
        colormap: str | None = None,
        alpha: float = 0.5,
    ) -> Image:
        """Lay the reduced map in colour over its frame.

        Args:
            reduce: ``mean``, ``max``, ``absmean``, ``l2``, ``std`` or ``pca``.
            scale: How the reduced values are taken to colours.
            colormap: Any name that cmap knows; None: what suits the scale. ``pca`` has its own colours.
            alpha: How much of the colour is laid on, 0 to 1.
        """
        levels = reduced_bytes(as_channels(self.values), reduce, scale)
        colours = colormap or default_colormap(scale)
        return draw_overlay(levels, self.frame.pixels, self.placement, colormap=colours, alpha=alpha)

    def _order(self, sort: str) -> NDArray[np.int64]:
        statistics = self.statistics()
        keys = {
            "max": statistics.max,
            "mean": statistics.mean,
            "range": statistics.max - statistics.min,
            "zeros": statistics.zero_share,
        }
        if sort not in keys:
            raise OptionError(f"sort {sort!r}: there are {', '.join(SORTS)}{nearest(sort, SORTS)}")
        return np.argsort(-np.nan_to_num(keys[sort], nan=-np.inf), kind="stable")

    def __repr__(self) -> str:
        return f"<FeatureMap {self.layer} {tuple(self.values.shape)} of {self.frame.name}>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channel:
    """One channel of a feature map.

    Attributes:
        map: The map that it belongs to.
        number: Which of its channels.
    """

    map: FeatureMap
    number: int

    @property
    def values(self) -> Tensor:
        """(H, W) the values themselves."""
        return self.map.values[self.number]

    def tile(self, scale: str = "channel", *, colormap: str = "grey") -> Image:
        """Draw it at its own size, one pixel a cell.

        Scales that look at the whole layer (``layer``, ``percentile``, ``symmetric``) do so here too.
        """
        levels = self.map.scaled(scale).bytes[self.number].cpu().numpy()
        return picture_of(levels, colormap)

    def overlay(self, *, scale: str = "channel", colormap: str | None = None, alpha: float = 0.5) -> Image:
        """Lay it in colour over its frame."""
        levels = self.map.scaled(scale).bytes[self.number].cpu().numpy()
        colours = colormap or default_colormap(scale)
        return draw_overlay(levels, self.map.frame.pixels, self.map.placement, colormap=colours, alpha=alpha)


def as_channels(values: Tensor) -> Tensor:
    """View values as (C, H, W): a plain vector, such as class scores, is a map of single cells.

    Raises:
        LayerError: They have another rank.
    """
    if values.ndim == 1:
        return values[:, None, None]
    if values.ndim != 3:
        raise LayerError(f"expected channels of maps (C, H, W), got shape {tuple(values.shape)}")
    return values


def reduced_bytes(values: Tensor, reduce: str, scale: str) -> NDArray[np.uint8]:
    """Reduce (C, H, W) values to one picture's bytes: (H, W), or (H, W, 3) for ``pca``."""
    reduced = reduce_channels(values, reduce)
    if reduced.ndim == 3:
        return np.asarray(reduced.mul(255).round().byte().cpu().numpy())
    return np.asarray(to_bytes(reduced[None], scale).bytes[0].cpu().numpy())


def picture_of(levels: NDArray[np.uint8], colormap: str) -> Image:
    """Make an image of bytes: (H, W) through a colour map, (H, W, 3) as it is."""
    from PIL import Image

    if levels.ndim == 2 and not is_grey(colormap):
        levels = apply_colormap(levels, colormap)
    return Image.fromarray(np.ascontiguousarray(levels))


def draw_feature_sheet(
    scaled: Scaled,
    layer: str,
    *,
    colormap: str | None = None,
    order: NDArray[np.int64] | None = None,
    sort: str | None = None,
) -> Image:
    """Draw the sheet of a scaled layer, with a header that says what is seen.

    Args:
        scaled: All channels as bytes.
        layer: The layer's name.
        colormap: None: what suits the scale.
        order: Channel numbers in the order in which to draw them; None: as they are.
        sort: What the order is by, for the header.
    """
    tiles = scaled.bytes.cpu().numpy()
    marks = channel_marks(scaled.extent, single_cell=tiles.shape[1:] == (1, 1))
    labels = [str(channel) for channel in range(len(tiles))]
    if order is not None:
        tiles = tiles[order]
        marks, labels = [marks[i] for i in order], [labels[i] for i in order]
    return draw_sheet(
        tiles,
        header=sheet_header(scaled, layer, sort),
        labels=labels,
        marks=marks,
        colormap=colormap or default_colormap(scaled.rule),
        value_range=scaled.shared_range,
    )


def sheet_header(scaled: Scaled, layer: str, sort: str | None = None) -> list[str]:
    """Say in a few lines which layer a sheet shows, its shape, its scale and its values' range."""
    channels, height, width = scaled.bytes.shape
    extent = scaled.extent
    known = extent.min[~np.isnan(extent.min)]
    span = f"values {known.min():.4g} to {np.nanmax(extent.max):.4g}" if known.size else "no finite value"
    noun = "channel" if channels == 1 else "channels"
    lines = [layer, f"{channels} {noun} of {height} x {width}; {span}; scale {scaled.rule}"]
    if sort is not None:
        lines.append(f"sorted by {sort}, highest first")
    return lines
