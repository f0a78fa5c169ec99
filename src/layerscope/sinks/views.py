"""What can be seen of a layer on one picture: a sheet, an overlay, a reduction, one channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from layerscope.hooks.feature_map import draw_feature_sheet, drawable, picture_of, reduced_bytes
from layerscope.render import default_colormap, draw_overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled

    Draw: TypeAlias = Callable[[str], NDArray[np.uint8]]

__all__ = ["VIEWS", "Look", "enlarged", "take_view"]

VIEWS = ("sheets", "overlays", "reductions")

SHORTEST_SIDE_PX = 208
"""Small maps are enlarged, cell by cell, to at least about this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How values become the pixels of a view.

    Attributes:
        scale: A scale's name.
        colormap: None: what suits the scale.
        reduce: How overlays and reductions take many channels to one.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
    """

    scale: str
    colormap: str | None = None
    reduce: str = "mean"
    alpha: float = 0.5

    @property
    def colours(self) -> str:
        """The colour map's name."""
        return self.colormap or default_colormap(self.scale)


def take_view(view: str, feature_map: FeatureMap, scaled: Scaled, look: Look) -> Draw | None:
    """Take what a view needs of a map while its values exist.

    Args:
        view: One of ``VIEWS``, or a channel's number.
        feature_map: The map.
        scaled: All its channels as bytes.
        look: How values become pixels.

    Returns:
        What draws it later, given the layer's final name, as (H, W) grey or (H, W, 3) RGB uint8; None where there is
        nothing to see: a line lies nowhere in a picture, and not every layer has every channel.
    """
    axes = feature_map.axes
    if view == "sheets":
        return lambda layer: draw_feature_sheet(scaled, layer, axes, colormap=look.colours)
    if view.isdecimal():
        if int(view) >= axes.channels:
            return None
        tile = drawable(scaled, axes)[int(view)]
        return lambda _layer: np.asarray(picture_of(enlarged(tile), look.colours))
    if axes.kind == "line":
        return None
    levels = reduced_bytes(feature_map.plane, look.reduce, look.scale)
    if view == "reductions":
        return lambda _layer: np.asarray(picture_of(enlarged(levels), look.colours))
    frame, placement = feature_map.placed
    return lambda _layer: np.asarray(
        draw_overlay(levels, frame.pixels, placement, colormap=look.colours, alpha=look.alpha)
    )


def enlarged(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge a small map by a whole factor, so that it can be seen."""
    factor = max(1, -(-SHORTEST_SIDE_PX // max(1, min(levels.shape[:2]))))
    return levels.repeat(factor, axis=0).repeat(factor, axis=1)
