"""All channels of a layer on one picture, each with its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from layerscope.errors import InputError, OptionError
from layerscope.render.colour import apply_colormap, is_grey
from layerscope.render.header import draw_header
from layerscope.render.layout import SheetLayout, sheet_layout
from layerscope.render.text import clip_text, stamp, text_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["draw_sheet"]

_PAPER_LEVEL, _BORDER_LEVEL, _LABEL_LEVEL, _CHIP_LEVEL = 255, 190, 60, 70


def draw_sheet(
    tiles: NDArray[np.uint8],
    *,
    header: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    marks: Sequence[str] | None = None,
    colormap: str = "grey",
    value_range: tuple[float, float] | None = None,
    columns: int | None = None,
    tile_px: int | None = None,
    gap_px: int = 6,
    max_px: int = 4096,
) -> Image.Image:
    """Draw all tiles of a layer on one picture, tile n in cell n, row by row.

    Small maps are enlarged by a whole factor, cell by cell; large ones are drawn as they are, or
    reduced by averaging where the sheet would not fit ``max_px``.

    Args:
        tiles: (C, H, W) uint8, or (C, H, W, 3) uint8 RGB.
        header: Lines above the tiles, the first as a title; any characters.
        labels: C labels; None numbers the tiles from 0.
        marks: C short remarks, such as ``constant``; empty for none.
        colormap: The colours of (C, H, W) tiles and of the bar.
        value_range: The values of bytes 0 and 255 where they are the same for all tiles: draws a
            colour bar.
        columns: Tiles in a row; None makes the whole nearly square.
        tile_px: Longer side of a tile at most; None lets the map and ``max_px`` decide.
        gap_px: Between tiles; at 0 they touch.
        max_px: Longer side of the sheet where ``tile_px`` is not given. Kept unless tiles would
            become smaller than can be seen.

    Returns:
        The sheet: mode L where everything on it is grey, else RGB.

    Raises:
        InputError: Tiles of another type or shape.
        OptionError: No such colour map; a size below 1; labels or marks that are not C.

    >>> draw_sheet(np.zeros((5, 2, 2), np.uint8), header=["stem"]).mode
    'L'
    """
    tiles = _checked(tiles, labels, marks)
    if tiles.ndim == 3 and not is_grey(colormap):
        tiles = apply_colormap(tiles, colormap)
    in_grey = tiles.ndim == 3 and (value_range is None or is_grey(colormap))
    layout = sheet_layout(
        len(tiles),
        (tiles.shape[1], tiles.shape[2]),
        header=header,
        labels=labels,
        bar=value_range is not None,
        columns=columns,
        tile_px=tile_px,
        gap_px=gap_px,
        max_px=max_px,
    )
    if tiles.ndim == 3 and not in_grey:
        tiles = np.repeat(tiles[..., None], 3, axis=3)
    canvas = np.full((*layout.size_hw, *tiles.shape[3:]), _PAPER_LEVEL, np.uint8)
    draw_header(canvas, layout.header, layout.header_yx, colormap=colormap, value_range=value_range)
    _place_tiles(canvas, tiles, layout, border=gap_px >= 3)
    _write_labels(canvas, layout, labels, marks)
    return Image.fromarray(canvas)


def _checked(tiles: NDArray[np.uint8], labels: Sequence[str] | None, marks: Sequence[str] | None) -> NDArray[np.uint8]:
    """Refuse what is not one set of tiles with as many labels and marks."""
    tiles = np.asarray(tiles)
    if tiles.dtype != np.uint8 or tiles.ndim not in (3, 4) or (tiles.ndim == 4 and tiles.shape[3] != 3):
        raise InputError(f"expected (C, H, W) or (C, H, W, 3) uint8 tiles, got shape {tiles.shape} of {tiles.dtype}")
    for name, given in (("labels", labels), ("marks", marks)):
        if given is not None and len(given) != len(tiles):
            raise OptionError(f"expected {len(tiles)} {name}, one a tile, got {len(given)}")
    return tiles


def _place_tiles(canvas: NDArray[np.uint8], tiles: NDArray[np.uint8], layout: SheetLayout, *, border: bool) -> None:
    """Draw all tiles: the full rows in one assignment, then what the last row has."""
    full = layout.count // layout.columns
    factor = layout.factor
    if factor is None:
        tiles = _reduce_tiles(tiles, layout.tile_hw)
    height, width = layout.tile_hw
    for first_row, rows, columns in ((0, full, layout.columns), (full, 1, layout.count % layout.columns)):
        if rows * columns == 0:
            continue
        top = layout.origin_yx[0] + first_row * layout.pitch_hw[0]
        left = layout.origin_yx[1]
        if border:
            cells = _cell_view(canvas, (top - 1, left - 1), layout, rows, columns, (height + 2, width + 2))
            cells[...] = _BORDER_LEVEL
        cells = _cell_view(canvas, (top, left), layout, rows, columns, (height, width))
        first = first_row * layout.columns
        block = tiles[first : first + rows * columns].reshape(rows, columns, *tiles.shape[1:])
        if factor is not None:
            block = block.repeat(factor, axis=3) if factor > 1 else block
            block = block.repeat(factor, axis=2) if factor > 1 else block
        cells[...] = block


def _cell_view(
    canvas: NDArray[np.uint8],
    corner_yx: tuple[int, int],
    layout: SheetLayout,
    rows: int,
    columns: int,
    size_hw: tuple[int, int],
) -> NDArray[np.uint8]:
    """View equal rectangles of a canvas, one a cell, as (rows, columns, height, width, ...)."""
    down, across = layout.pitch_hw
    target = canvas[corner_yx[0] :, corner_yx[1] :]
    return np.lib.stride_tricks.as_strided(
        target,
        shape=(rows, columns, *size_hw, *canvas.shape[2:]),
        strides=(target.strides[0] * down, target.strides[1] * across, *target.strides),
    )


def _reduce_tiles(tiles: NDArray[np.uint8], tile_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Reduce tiles by averaging areas."""
    height, width = tile_hw
    reduced = [np.asarray(Image.fromarray(tile).resize((width, height), Image.Resampling.BOX)) for tile in tiles]
    return np.stack(reduced)


def _write_labels(
    canvas: NDArray[np.uint8],
    layout: SheetLayout,
    labels: Sequence[str] | None,
    marks: Sequence[str] | None,
) -> None:
    """Write each tile's label above it, and its mark beside the label as a dark chip."""
    size = layout.label_px
    room = layout.pitch_hw[1] - layout.gap_px
    if not layout.label_band_px:
        return
    for index in range(layout.count):
        y, x = layout.tile_yx(index)
        y -= layout.label_band_px
        label = clip_text(str(index) if labels is None else labels[index], size, room)
        mask = text_mask(label, size)
        stamp(canvas, mask, y, x, _LABEL_LEVEL)
        mark = marks[index] if marks is not None else ""
        left = mask.shape[1] + 2 if mask.shape[1] else 0
        mark = clip_text(mark, size - 1, room - left - 4, ".") if mark else ""
        if mark:
            chip = text_mask(mark, size - 1)
            left = room - chip.shape[1] - 4
            canvas[y : y + chip.shape[0] + 1, x + left : x + room] = _CHIP_LEVEL
            stamp(canvas, chip, y, x + left + 2, _PAPER_LEVEL)
