"""How values become pixels: one set of options to the sinks that draw them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

from layerscope.errors import OptionError, nearest
from layerscope.render import REDUCTIONS, SCALES, colormap_table, default_colormap
from layerscope.sinks.html import Html
from layerscope.sinks.movies import Video, WebP
from layerscope.sinks.pictures import Pictures
from layerscope.sinks.tensorboard import TensorBoard
from layerscope.sinks.tensors import TENSOR_TYPES, Tensors
from layerscope.sinks.tiles import PACKS, TILE_FORMATS, Tiles, encode_recipe_jpeg
from layerscope.sinks.views import VIEWS, Look
from layerscope.sinks.zarr_store import Zarr

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from layerscope.sinks.sink import Sink

__all__ = ["ENTRY_POINTS", "PRESETS", "SINKS", "Drawing", "preset_options"]

ENTRY_POINTS = "layerscope.sinks"
"""The group of the entry points with which other packages add kinds of output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How values become pixels.

    Attributes:
        write: Which kinds of files, names of ``SINKS`` or of other packages' sinks.
        scale: A scale's name.
        colormap: A colour map's name; None: grey tiles, and for the rest what suits the scale.
        tile_format: ``jpg``, ``png`` or ``webp``.
        reduce: How overlays and reductions take many channels to one.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
        recipe_jpeg: Encode JPEG tiles to the very pixels that OpenCV writes.
        tensor_type: How ``tensors`` and ``zarr`` keep values: ``f32``, ``f16`` or ``q8``.
        pack: ``zip``: all tiles of a frame in one file; None: each is a file.
        view: What ``video`` and ``webp`` show: ``sheets``, ``overlays``, ``reductions``, or a channel's number.
        fps: Frames a second in them where frames have no times of their own.

    Raises:
        OptionError: No such kind, scale, colour map, format or reduction; a number out of its range.
    """

    write: tuple[str, ...] = ("tiles", "sheets")
    scale: str = "channel"
    colormap: str | None = None
    tile_format: str = "jpg"
    reduce: str = "mean"
    alpha: float = 0.5
    recipe_jpeg: bool = False
    tensor_type: str = "f32"
    pack: str | None = None
    view: tuple[str, ...] = ("sheets",)
    fps: float = 4.0

    def __post_init__(self) -> None:
        if not self.write:
            raise OptionError(f"write: expected at least one of {', '.join(SINKS)}")
        for kind in self.write:
            _sink_factory(kind)
        for view in self.view:
            if not view.isdecimal():
                _one_of("view", view, (*VIEWS, "a channel's number"))
        if not self.view:
            raise OptionError(f"view: expected at least one of {', '.join(VIEWS)}, or a channel's number")
        _one_of("scale", self.scale, SCALES)
        _one_of("tile_format", self.tile_format, TILE_FORMATS)
        _one_of("reduce", self.reduce, REDUCTIONS)
        _one_of("tensor_type", self.tensor_type, TENSOR_TYPES)
        if self.pack is not None:
            _one_of("pack", self.pack, PACKS)
        if self.colormap is not None:
            colormap_table(self.colormap)
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha: expected a number from 0 to 1, got {self.alpha}")
        if not 0 < self.fps <= 1000:
            raise OptionError(f"fps: expected a rate above 0 and up to 1000, got {self.fps}")

    @property
    def look(self) -> Look:
        """How values become the pixels of a view."""
        return Look(scale=self.scale, colormap=self.colormap, reduce=self.reduce, alpha=self.alpha)

    def sinks(self) -> list[Sink]:
        """Make the sinks, each kind once; the page, which shows what the others wrote, comes last."""
        kinds = sorted(dict.fromkeys(self.write), key=lambda kind: kind == Html.kind)
        return [_sink_factory(kind)(self) for kind in kinds]


def _sink_factory(kind: str) -> Callable[[Drawing], Sink]:
    """Find what makes a kind of sink, here or in another package.

    Raises:
        OptionError: There is none.
    """
    if kind in SINKS:
        return SINKS[kind]
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        return cast("Callable[[Drawing], Sink]", entry.load())
    known = [*SINKS, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))]
    raise OptionError(f"write {kind!r}: there are {', '.join(known)}{nearest(kind, known)}")


def _one_of(option: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise OptionError(f"{option} {value!r}: there are {', '.join(choices)}{nearest(value, choices)}")


def _tiles(drawing: Drawing) -> Sink:
    colormap = drawing.colormap or (default_colormap(drawing.scale) if drawing.scale == "symmetric" else "grey")
    recipe = drawing.recipe_jpeg and drawing.tile_format == "jpg"
    return Tiles(drawing.tile_format, colormap, encode_recipe_jpeg if recipe else None, pack=drawing.pack)


SINKS: dict[str, Callable[[Drawing], Sink]] = {
    "tiles": _tiles,
    "sheets": lambda drawing: Pictures("sheets", drawing.look),
    "overlays": lambda drawing: Pictures("overlays", drawing.look),
    "reductions": lambda drawing: Pictures("reductions", drawing.look),
    "tensors": lambda drawing: Tensors(drawing.tensor_type),
    "zarr": lambda drawing: Zarr(drawing.tensor_type),
    "video": lambda drawing: Video(drawing.view, drawing.look),
    "webp": lambda drawing: WebP(drawing.view, drawing.look),
    "tensorboard": lambda drawing: TensorBoard(drawing.look),
    "html": lambda _drawing: Html(),
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
