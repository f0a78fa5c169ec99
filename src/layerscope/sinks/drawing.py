"""How values become pixels: one set of options to the sinks that draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerscope.errors import OptionError, nearest
from layerscope.render import SCALES, default_colormap
from layerscope.sinks.pictures import Overlays, Reductions, Sheets
from layerscope.sinks.tiles import Tiles, encode_recipe_jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from layerscope.sinks.sink import Sink

__all__ = ["PRESETS", "SINKS", "Drawing", "preset_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How values become pixels.

    Attributes:
        write: Which kinds of pictures, names of ``SINKS``.
        scale: A scale's name.
        colormap: A colour map's name; None: grey tiles, and for the rest what suits the scale.
        tile_format: ``jpg``, ``png`` or ``webp``.
        reduce: How overlays and reductions take many channels to one.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
        recipe_jpeg: Encode JPEG tiles to the very pixels that OpenCV writes.
    """

    write: tuple[str, ...] = ("tiles", "sheets")
    scale: str = "channel"
    colormap: str | None = None
    tile_format: str = "jpg"
    reduce: str = "mean"
    alpha: float = 0.5
    recipe_jpeg: bool = False

    def sinks(self) -> list[Sink]:
        """Make the sinks.

        Raises:
            OptionError: No such kind, format, colour map or scale.
        """
        if not self.write:
            raise OptionError(f"write: expected at least one of {', '.join(SINKS)}")
        for kind in self.write:
            if kind not in SINKS:
                raise OptionError(f"write {kind!r}: there are {', '.join(SINKS)}{nearest(kind, SINKS)}")
        if self.scale not in SCALES:
            raise OptionError(f"scale {self.scale!r}: there are {', '.join(SCALES)}{nearest(self.scale, SCALES)}")
        return [SINKS[kind](self) for kind in dict.fromkeys(self.write)]


def _tiles(drawing: Drawing) -> Sink:
    colormap = drawing.colormap or (default_colormap(drawing.scale) if drawing.scale == "symmetric" else "grey")
    recipe = drawing.recipe_jpeg and drawing.tile_format == "jpg"
    return Tiles(drawing.tile_format, colormap, encode_recipe_jpeg if recipe else None)


SINKS: dict[str, Callable[[Drawing], Sink]] = {
    "tiles": _tiles,
    "sheets": lambda drawing: Sheets(drawing.scale, drawing.colormap),
    "overlays": lambda drawing: Overlays(drawing.reduce, drawing.scale, drawing.colormap, drawing.alpha),
    "reductions": lambda drawing: Reductions(drawing.reduce, drawing.scale, drawing.colormap),
}
"""The kinds of pictures that ``write`` takes."""

PRESETS: dict[str, Mapping[str, Any]] = {
    "classic": {
        "size": (416, 416),
        "resize": "stretch",
        "filter": "bilinear",
        "order": "bgr",
        "range": "0-255",
        "write": ("tiles",),
        "scale": "unit",
        "colormap": "grey",
        "tile_format": "jpg",
        "recipe_jpeg": True,
    },
}
"""Option values under one name. ``classic`` is the well-known recipe: the same files, pixel for pixel."""


def preset_options(name: str | None) -> dict[str, Any]:
    """Return the options that a preset stands for; none for None.

    Raises:
        OptionError: No such preset.
    """
    if name is None:
        return {}
    if name not in PRESETS:
        raise OptionError(f"preset {name!r}: there are {', '.join(PRESETS)}{nearest(name, PRESETS)}")
    return dict(PRESETS[name])
