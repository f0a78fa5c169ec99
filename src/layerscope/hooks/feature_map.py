"""What a layer gave for one frame, and the pictures that can be made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.errors import LayerError, OptionError, nearest
from layerscope.models.axes import Axes, read_axes
from layerscope.render import (
    ChannelStatistics,
    Scaled,
    apply_colormap,
    channel_marks,
    channel_statistics,
    default_colormap,
    draw_overlay,
    reduce_channels,
    to_bytes,
)
from layerscope.render.colour import is_grey
from layerscope.render.lines import draw_lines
from layerscope.render.sheet import sheet_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from layerscope.inputs import Frame, Placement

__all__ = ["SORTS", "Channel", "FeatureMap", "as_maps", "drawable", "sheet_header"]

SORTS = ("max", "mean", "range", "zeros")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureMap:
    """What a layer gave for one frame.

    Attributes:
        layer: The layer's name.
        values: (C, H, W), the batch axis dropped. Other shapes are kept as they are: (H, W, C), (N, C) tokens,
            (C, D, H, W), (C, L), (C,).
        frame: The picture; None where the network was given something else.
        placement: Where the picture lies in the network's input; None likewise.
        counts_items: The first axis counts things, such as regions or the frames of a batch, so that there is no
            map of the one picture.
    """

    layer: str
    values: Tensor
    frame: Frame | None = None
    placement: Placement | None = None
    counts_items: bool = False

    @property
    def axes(self) -> Axes:
        """Which axes are channels, and which are places in the picture.

        Raises:
            LayerError: There is no map of the one picture.
        """
        if self.counts_items:
            raise LayerError(
                f"{self.layer} gave {len(self.values)} items of shape {tuple(self.values.shape[1:])}, not one picture's"
            )
        try:
            return read_axes(self.values.shape, self.placement.input_hw if self.placement else None)
        except LayerError as error:
            raise LayerError(f"{self.layer}: {error}") from None

    @property
    def maps(self) -> Tensor:
        """(C, H, W) view of the values for drawing, whatever their axes are.

        Tokens lie on their grid, a volume's slices side by side, (C, H, D * W), a line is (C, 1, L).
        """
        return as_maps(self.values, self.axes)

    @property
    def apart(self) -> Tensor:
        """(N, C) the tokens that belong to no place: class and register tokens."""
        return self.values.permute(*self.axes.order[::-1])[: self.axes.apart] if self.axes.apart else self.values[:0]

    @property
    def plane(self) -> Tensor:
        """(C, H, W) what lies over the picture; of a volume the mean of its slices.

        Raises:
            LayerError: There are no rows and columns.
        """
        axes = self.axes
        if axes.kind == "line":
            raise LayerError(f"{self.layer} gave {axes.text}, which lie nowhere in a picture")
        if axes.kind == "volume":
            return as_plain(self.values).permute(axes.order).mean(1)
        return self.maps

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.axes.channels

    def __getitem__(self, channel: int) -> Channel:
        """Return one channel; negative numbers count from the end."""
        if not -self.channels <= channel < self.channels:
            raise LayerError(f"{self.layer} has channels 0 to {self.channels - 1}, not {channel}")
        return Channel(map=self, number=channel % self.channels)

    def statistics(self) -> ChannelStatistics:
        """Return each channel's range, mean, share of zeros and whether it is constant or not finite."""
        return channel_statistics(self.maps)

    def scaled(self, scale: str = "channel") -> Scaled:
        """Return all channels as bytes, (C, H, W) uint8, with the values that 0 and 255 stand for."""
        return to_bytes(self.maps, scale)

    def sheet(self, scale: str = "channel", *, colormap: str | None = None, sort: str | None = None) -> Image:
        """Draw all channels on one picture, each with its number.

        Args:
            scale: ``channel``, ``layer``, ``percentile``, ``symmetric`` or ``unit``.
            colormap: Any name that cmap knows; None: what suits the scale.
            sort: Put the channels with the highest ``max``, ``mean``, ``range`` or share of ``zeros`` first; the
                sheet says so. None: tile n is channel n.
        """
        from PIL import Image

        scaled = self.scaled(scale)
        order = None if sort is None else self._order(sort)
        pixels = draw_feature_sheet(scaled, self.layer, self.axes, colormap=colormap, order=order, sort=sort)
        return Image.fromarray(pixels)

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

        Raises:
            LayerError: There is no picture, or nothing that lies in one.
        """
        levels = reduced_bytes(self.plane, reduce, scale)
        frame, placement = self.placed
        colours = colormap or default_colormap(scale)
        return draw_overlay(levels, frame.pixels, placement, colormap=colours, alpha=alpha)

    @property
    def placed(self) -> tuple[Frame, Placement]:
        """The picture and where it lies in the network's input.

        Raises:
            LayerError: The network was not given a picture.
        """
        if self.frame is None or self.placement is None:
            raise LayerError(f"{self.layer}: the network was given no picture, so there is none to lay a map over")
        return self.frame, self.placement

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
        of = f" of {self.frame.name}" if self.frame else ""
        return f"<FeatureMap {self.layer} {tuple(self.values.shape)}{of}>"


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
        """(H, W) the values themselves, or as many axes as the layer has for one channel."""
        return self.map.values.select(self.map.axes.order[0], self.number) if self.map.values.ndim else self.map.values

    def tile(self, scale: str = "channel", *, colormap: str = "grey") -> Image:
        """Draw it at its own size, one pixel a cell.

        Scales that look at the whole layer (``layer``, ``percentile``, ``symmetric``) do so here too.
        """
        levels = drawable(self.map.scaled(scale), self.map.axes)[self.number]
        return picture_of(levels, colormap)

    def overlay(self, *, scale: str = "channel", colormap: str | None = None, alpha: float = 0.5) -> Image:
        """Lay it in colour over its frame.

        Raises:
            LayerError: There is no picture, or nothing that lies in one.
        """
        levels = to_bytes(self.map.plane, scale).bytes[self.number].cpu().numpy()
        frame, placement = self.map.placed
        colours = colormap or default_colormap(scale)
        return draw_overlay(levels, frame.pixels, placement, colormap=colours, alpha=alpha)


def as_maps(values: Tensor, axes: Axes) -> Tensor:
    """View values as (C, H, W), by their axes."""
    values = as_plain(values).permute(axes.order)
    if axes.kind == "tokens":
        return values[:, axes.apart :].reshape(axes.channels, *axes.cells)
    if axes.kind == "volume":
        return values.movedim(1, 2).flatten(2)
    if axes.kind == "line":
        return values[:, None]
    return values.reshape(-1, 1, 1) if axes.kind == "numbers" else values


def as_plain(values: Tensor) -> Tensor:
    """Return what a quantised tensor stands for, and any other as it is."""
    return values.dequantize() if values.is_quantized else values


def drawable(scaled: Scaled, axes: Axes) -> NDArray[np.uint8]:
    """(C, H, W) uint8 as it is to be drawn: lines as plots, all else as it is."""
    levels = np.asarray(scaled.bytes.cpu().numpy())
    return draw_lines(levels[:, 0]) if axes.kind == "line" else levels


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
    axes: Axes,
    *,
    colormap: str | None = None,
    order: NDArray[np.int64] | None = None,
    sort: str | None = None,
) -> NDArray[np.uint8]:
    """Draw the sheet of a scaled layer, with a header that says what is seen.

    Args:
        scaled: All channels as bytes.
        layer: The layer's name.
        axes: What its axes are.
        colormap: None: what suits the scale.
        order: Channel numbers in the order in which to draw them; None: as they are.
        sort: What the order is by, for the header.

    Returns:
        (H, W) uint8 where everything on it is grey, else (H, W, 3) RGB.
    """
    tiles = drawable(scaled, axes)
    marks = channel_marks(scaled.extent, single_cell=tiles.shape[1:] == (1, 1))
    labels = None
    if order is not None:
        tiles = tiles[order]
        marks, labels = [marks[i] for i in order], [str(i) for i in order]
    return sheet_pixels(
        tiles,
        header=sheet_header(scaled, layer, axes, sort),
        labels=labels,
        marks=marks,
        colormap=colormap or default_colormap(scaled.rule),
        value_range=scaled.shared_range,
    )


def sheet_header(scaled: Scaled, layer: str, axes: Axes, sort: str | None = None) -> list[str]:
    """Say in a few lines which layer a sheet shows, its shape, its scale and its values' range."""
    extent = scaled.extent
    known = extent.min[~np.isnan(extent.min)]
    span = f"values {known.min():.4g} to {np.nanmax(extent.max):.4g}" if known.size else "no finite value"
    lines = [layer, f"{axes.text}; {span}; scale {scaled.rule}"]
    if sort is not None:
        lines.append(f"sorted by {sort}, highest first")
    return lines
