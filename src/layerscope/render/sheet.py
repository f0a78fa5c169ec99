"""All channels of a layer on one picture, each with its number."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from layerscope.errors import InputError, OptionError
from layerscope.render.colour import apply_colormap, colormap_table, is_grey
from layerscope.render.header import draw_header
from layerscope.render.layout import SheetLayout, sheet_layout
from layerscope.render.text import blend_levels, clip_text, line_height, stamp, text_mask, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["draw_sheet", "sheet_pixels"]

_PAPER_LEVEL, _BORDER_LEVEL, _LABEL_LEVEL, _CHIP_LEVEL = 255, 190, 60, 70

_BLOCK_CELLS = 1 << 17


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
    pixels = sheet_pixels(
        tiles,
        header=header,
        labels=labels,
        marks=marks,
        colormap=colormap,
        value_range=value_range,
        columns=columns,
        tile_px=tile_px,
        gap_px=gap_px,
        max_px=max_px,
    )
    return Image.fromarray(pixels)


def sheet_pixels(
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
) -> NDArray[np.uint8]:
    """Draw a sheet as ``draw_sheet`` does, and leave it an array.

    Returns:
        (H, W) uint8 where everything on it is grey, else (H, W, 3) RGB; the rows have a byte between them in memory.
    """
    tiles = _checked(tiles, labels, marks)
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
    bands = 3 if tiles.ndim == 4 or not is_grey(colormap) else 1
    height, width = layout.size_hw
    # A zero before each row makes them the lines of a PNG file, which is then compressed without another copy.
    lines = np.full((height, 1 + width * bands), _PAPER_LEVEL, np.uint8)
    lines[:, 0] = 0
    # What comes in rows is copied as rows of bytes, whatever number of them makes a pixel.
    rows = lines[:, 1:]
    canvas = rows if bands == 1 else rows.reshape(height, width, bands)
    draw_header(canvas, layout.header, layout.header_yx, colormap=colormap, value_range=value_range)
    if len(tiles):
        _place_tiles(rows, tiles, layout, colormap, border=gap_px >= 3)
        if layout.label_band_px:
            names = tuple(map(str, range(len(tiles)))) if labels is None else tuple(labels)
            _write_labels(rows, names, layout, bands)
            _write_marks(canvas, names, marks or (), layout)
    return canvas


def _checked(tiles: NDArray[np.uint8], labels: Sequence[str] | None, marks: Sequence[str] | None) -> NDArray[np.uint8]:
    """Refuse what is not one set of tiles with as many labels and marks."""
    tiles = np.asarray(tiles)
    if tiles.dtype != np.uint8 or tiles.ndim not in (3, 4) or (tiles.ndim == 4 and tiles.shape[3] != 3):
        raise InputError(f"expected (C, H, W) or (C, H, W, 3) uint8 tiles, got shape {tiles.shape} of {tiles.dtype}")
    for name, given in (("labels", labels), ("marks", marks)):
        if given is not None and len(given) != len(tiles):
            raise OptionError(f"expected {len(tiles)} {name}, one a tile, got {len(given)}")
    return tiles


def _place_tiles(
    rows: NDArray[np.uint8], tiles: NDArray[np.uint8], layout: SheetLayout, colormap: str, *, border: bool
) -> None:
    """Draw all tiles, some rows of the grid at a time: what is made on the way stays in the processor's cache."""
    full, rest = divmod(layout.count, layout.columns)
    step = max(1, _BLOCK_CELLS // (layout.columns * layout.map_hw[0] * layout.map_hw[1]))
    blocks = [(row, min(step, full - row), layout.columns) for row in range(0, full, step)]
    if rest:
        blocks.append((full, 1, rest))
    height, width = layout.tile_hw
    for row, down, across in blocks:
        y, x = layout.tile_yx(row * layout.columns)
        if border:
            _cells(rows, (y - 1, x - 1), layout, (down, across), (height + 2, width + 2))[...] = _BORDER_LEVEL
        block = _wide_rows(tiles[row * layout.columns :][: down * across], colormap, layout)
        cells = _cells(rows, (y, x), layout, (down, across), (height, width))
        lines = block.shape[1]
        cells.reshape(down, across, lines, height // lines, -1)[...] = block.reshape(down, across, lines, 1, -1)


def _wide_rows(tiles: NDArray[np.uint8], colormap: str, layout: SheetLayout) -> NDArray[np.uint8]:
    """Colour some tiles and bring them to the width that they are drawn with.

    Returns:
        (C, H, bytes) uint8: rows of cells, still to be repeated downward where tiles are enlarged, or of pixels
        where they are reduced.
    """
    factor = layout.factor
    if tiles.ndim == 3 and factor is not None and factor > 1:
        # Looked up in a table of colours that are as wide as a cell already.
        table = np.arange(256, dtype=np.uint8)[:, None] if is_grey(colormap) else colormap_table(colormap)
        tiles = np.take(np.tile(table, (1, factor)), tiles, axis=0)
    else:
        if tiles.ndim == 3 and not is_grey(colormap):
            tiles = apply_colormap(tiles, colormap)
        if factor is None:
            tiles = _reduce_tiles(tiles, layout.tile_hw)
        elif factor > 1:
            tiles = tiles.repeat(factor, axis=2)
    return tiles.reshape(*tiles.shape[:2], -1)


def _reduce_tiles(tiles: NDArray[np.uint8], tile_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Reduce tiles by averaging areas."""
    height, width = tile_hw
    reduced = [np.asarray(Image.fromarray(tile).resize((width, height), Image.Resampling.BOX)) for tile in tiles]
    return np.stack(reduced)


def _cells(
    rows: NDArray[np.uint8],
    corner_yx: tuple[int, int],
    layout: SheetLayout,
    grid: tuple[int, int],
    size_hw: tuple[int, int],
) -> NDArray[np.uint8]:
    """View equal rectangles of a sheet, one a cell, as (rows, columns, height, bytes of a width)."""
    bands = rows.shape[1] // layout.size_hw[1]
    target = rows[corner_yx[0] :, corner_yx[1] * bands :]
    line = target.strides[0]
    return np.lib.stride_tricks.as_strided(
        target,
        shape=(*grid, size_hw[0], size_hw[1] * bands),
        strides=(line * layout.pitch_hw[0], layout.pitch_hw[1] * bands, line, 1),
    )


def _write_labels(rows: NDArray[np.uint8], labels: tuple[str, ...], layout: SheetLayout, bands: int) -> None:
    """Write each tile's label above it."""
    y, x = layout.tile_yx(0)
    pitch = layout.pitch_hw[1]
    drawn = _label_rows(labels, layout.columns, pitch, pitch - layout.gap_px, layout.label_px, bands)
    place = _cells(
        rows, (y - layout.label_band_px, x), layout, (layout.rows, 1), (drawn.shape[1], layout.columns * pitch)
    )
    place[:, 0] = drawn


@lru_cache(maxsize=32)
def _label_rows(
    labels: tuple[str, ...], columns: int, pitch_px: int, room_px: int, size_px: int, bands: int
) -> NDArray[np.uint8]:
    """Draw the labels of all tiles, which are the same for every frame.

    Returns:
        (rows, line height, width * bands) uint8, read-only.
    """
    cover = np.zeros((math.ceil(len(labels) / columns), line_height(size_px), columns * pitch_px), np.uint8)
    for index, label in enumerate(labels):
        row, column = divmod(index, columns)
        mask = text_mask(clip_text(label, size_px, room_px), size_px)
        cover[row, :, column * pitch_px : column * pitch_px + mask.shape[1]] = mask
    drawn = blend_levels(_LABEL_LEVEL)[cover].repeat(bands, axis=2)
    drawn.flags.writeable = False
    return drawn


def _write_marks(canvas: NDArray[np.uint8], labels: Sequence[str], marks: Sequence[str], layout: SheetLayout) -> None:
    """Write a tile's mark beside its label, as a dark chip."""
    size = layout.label_px
    room = layout.pitch_hw[1] - layout.gap_px
    for index, mark in enumerate(marks):
        if not mark:
            continue
        y, x = layout.tile_yx(index)
        y -= layout.label_band_px
        taken = text_width(clip_text(labels[index], size, room), size)
        shown = clip_text(mark, size - 1, room - (taken + 2 if taken else 0) - 4, ".")
        if shown:
            chip = text_mask(shown, size - 1)
            left = x + room - chip.shape[1] - 4
            canvas[y : y + chip.shape[0] + 1, left : x + room] = _CHIP_LEVEL
            stamp(canvas, chip, y, left + 2, _PAPER_LEVEL, paper=_CHIP_LEVEL)
