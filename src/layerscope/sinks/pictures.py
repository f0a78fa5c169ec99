"""One picture a layer, without loss: sheets, overlays and reductions, each in a folder of its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerscope.sinks.png import encode_png
from layerscope.sinks.views import Look, take_view

if TYPE_CHECKING:
    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.sink import Target, Write

__all__ = ["Pictures"]


class Pictures:
    """Writes one view of each layer: ``<view>/<layer>.png``.

    Args:
        view: A name of ``VIEWS``, which is the sink's kind as well.
        look: How values become pixels.
    """

    draws = True

    def __init__(self, view: str, look: Look) -> None:
        self.kind, self.look = view, look

    @property
    def colormap(self) -> str:
        """The colour map's name."""
        return self.look.colours

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write | None:
        """Take what the view needs."""
        draw = take_view(self.kind, feature_map, scaled, self.look)
        if draw is None:
            return None

        def write(target: Target) -> str:
            folder = target.folder / self.kind
            folder.mkdir(exist_ok=True)
            path = folder / f"{target.layer_folder}.png"
            path.write_bytes(encode_png(draw(target.layer), photo=self.kind == "overlays"))
            return f"{self.kind}/{path.name}"

        return write
