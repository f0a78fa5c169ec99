"""How values become pixels: one set of options to the sinks that draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerscope.errors import OptionError, nearest
from layerscope.render import REDUCTIONS, SCALES, colormap_table, default_colormap
from layerscope.sinks.pictures import Overlays, Reductions, Sheets
from layerscope.sinks.tensors import TENSOR_TYPES, Tensors
from layerscope.sinks.tiles import TILE_FORMATS, Tiles, encode_recipe_jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from layerscope.sinks.sink import Sink

__all__ = ["PRESETS", "SINKS", "Drawing", "preset_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How values become pixels.

    Attributes:
        write: Which kinds of files, names of ``SINKS``.
        scale: A scale's name.
        colormap: A colour map's name; None: grey tiles, and for the rest what suits the scale.
        tile_format: ``jpg``, ``png`` or ``webp``.
        reduce: How overlays and reductions take many channels to one.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
        recipe_jpeg: Encode JPEG tiles to the very pixels that OpenCV writes.
        tensor_type: How ``tensors`` are kept: ``f32``, ``f16`` or ``q8``.

    Raises:
        OptionError: No such kind, scale, colour map, format or reduction; alpha outside 0 to 1.
    """

    write: tuple[str, ...] = ("tiles", "sheets")
    scale: str = "channel"
    colormap: str | None = None
    tile_format: str = "jpg"
    reduce: str = "mean"
    alpha: float = 0.5
    recipe_jpeg: bool = False
    tensor_type: str = "f32"

    def __post_init__(self) -> None:
        if not self.write:
            raise OptionError(f"write: expected at least one of {', '.join(SINKS)}")
        for kind in self.write:
            _one_of("write", kind, SINKS)
        _one_of("scale", self.scale, SCALES)
        _one_of("tile_format", self.tile_format, TILE_FORMATS)
        _one_of("reduce", self.reduce, REDUCTIONS)
        _one_of("tensor_type", self.tensor_type, TENSOR_TYPES)
        if self.colormap is not None:
            colormap_table(self.colormap)
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha: expected a number from 0 to 1, got {self.alpha}")

    def sinks(self) -> list[Sink]:
        """Make the sinks, each kind once."""
        return [SINKS[kind](self) for kind in dict.fromkeys(self.write)]


def _one_of(option: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise OptionError(f"{option} {value!r}: there are {', '.join(choices)}{nearest(value, choices)}")


def _tiles(drawing: Drawing) -> Sink:
    colormap = drawing.colormap or (default_colormap(drawing.scale) if drawing.scale == "symmetric" else "grey")
    recipe = drawing.recipe_jpeg and drawing.tile_format == "jpg"
    return Tiles(drawing.tile_format, colormap, encode_recipe_jpeg if recipe else None)


SINKS: dict[str, Callable[[Drawing], Sink]] = {
    "tiles": _tiles,
    "sheets": lambda drawing: Sheets(drawing.scale, drawing.colormap),
    "overlays": lambda drawing: Overlays(drawing.reduce, drawing.scale, drawing.colormap, drawing.alpha),
    "reductions": lambda drawing: Reductions(drawing.reduce, drawing.scale, drawing.colormap),
    "tensors": lambda drawing: Tensors(drawing.tensor_type),
}
"""The kinds of files that ``write`` takes."""

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
    _one_of("preset", name, PRESETS)
    return dict(PRESETS[name])
