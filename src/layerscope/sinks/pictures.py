"""One picture a layer: sheets, overlays and reductions, each in a folder of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from layerscope.hooks.feature_map import draw_feature_sheet, picture_of, reduced_bytes
from layerscope.render import default_colormap, draw_overlay
from layerscope.sinks.png import encode_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.sink import Target, Write

__all__ = ["Overlays", "Reductions", "Sheets"]

SHORTEST_SIDE_PX = 208
"""Reductions of small maps are enlarged, cell by cell, to at least about this."""


class Sheets:
    """Writes all channels of a layer on one picture.

    Args:
        colormap: None: what suits the scale.
        scale: The scale that maps come in.
    """

    kind = "sheets"
    draws = True

    def __init__(self, scale: str, colormap: str | None = None) -> None:
        self.colormap = colormap or default_colormap(scale)

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write:
        """Keep the bytes."""
        axes = feature_map.axes
        return lambda target: _save(
            target, self.kind, draw_feature_sheet(scaled, target.layer, axes, colormap=self.colormap)
        )


class Overlays:
    """Writes the reduced map in colour over its frame.

    Args:
        reduce: How many channels become one.
        scale: How the reduced values become colours.
        colormap: None: what suits the scale.
        alpha: How much of the colour is laid on, 0 to 1.
    """

    kind = "overlays"
    draws = True

    def __init__(
        self, reduce: str = "mean", scale: str = "channel", colormap: str | None = None, alpha: float = 0.5
    ) -> None:
        self.reduce, self.scale, self.alpha = reduce, scale, alpha
        self.colormap = colormap or default_colormap(scale)

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write | None:  # noqa: ARG002
        """Keep the reduced map; lines lie nowhere in a picture."""
        if feature_map.axes.kind == "line":
            return None
        levels = reduced_bytes(feature_map.plane, self.reduce, self.scale)
        frame, placement = feature_map.placed
        return lambda target: _save(
            target,
            self.kind,
            np.asarray(draw_overlay(levels, frame.pixels, placement, colormap=self.colormap, alpha=self.alpha)),
            photo=True,
        )


class Reductions:
    """Writes the reduced map alone, enlarged so that it can be seen.

    Args:
        reduce: How many channels become one.
        scale: How the reduced values become colours.
        colormap: None: what suits the scale.
    """

    kind = "reductions"
    draws = True

    def __init__(self, reduce: str = "mean", scale: str = "channel", colormap: str | None = None) -> None:
        self.reduce, self.scale = reduce, scale
        self.colormap = colormap or default_colormap(scale)

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write | None:  # noqa: ARG002
        """Keep the reduced map; lines have no rows and columns."""
        if feature_map.axes.kind == "line":
            return None
        levels = reduced_bytes(feature_map.plane, self.reduce, self.scale)
        factor = max(1, -(-SHORTEST_SIDE_PX // max(1, min(levels.shape[:2]))))
        enlarged = levels.repeat(factor, axis=0).repeat(factor, axis=1)
        return lambda target: _save(target, self.kind, np.asarray(picture_of(enlarged, self.colormap)))


def _save(target: Target, kind: str, pixels: NDArray[np.uint8], *, photo: bool = False) -> str:
    folder = target.folder / kind
    folder.mkdir(exist_ok=True)
    path = folder / f"{target.layer_folder}.png"
    path.write_bytes(encode_png(pixels, photo=photo))
    return f"{kind}/{path.name}"
