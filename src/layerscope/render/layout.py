"""Where each tile of a sheet lies: exact whole pixels, and nothing drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.errors import InputError, OptionError
from layerscope.render.grid import grid_columns, tile_size
from layerscope.render.header import HeaderPlan, plan_header
from layerscope.render.text import line_height, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["SheetLayout", "cut_tiles", "sheet_layout"]

_MARGIN_PX = 16
_WIDEST_LABEL_PX = 120
_NARROWEST_HEADER_PX = 320
_SMALLEST_TILE_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetLayout:
    """The exact layout of a sheet. Tile n lies in cell n, row by row; all sizes in pixels.

    Attributes:
        count: Number of tiles.
        map_hw: Height and width of a feature map, cells.
        tile_hw: Height and width that a tile is drawn with.
        columns: Cells in a row.
        rows: Rows; only the last may have empty cells, and it has at least one tile.
        pitch_hw: From one tile to the next, down and across.
        origin_yx: Upper left corner of tile 0.
        label_px: Size of the labels' font; each label stands in ``label_band_px`` above its tile.
        label_band_px: Height kept free for a label.
        gap_px: Kept free between tiles, labels aside.
        header_yx: Upper left corner of the header.
        header: The header's own layout.
        size_hw: Height and width of the whole sheet.
    """

    count: int
    map_hw: tuple[int, int]
    tile_hw: tuple[int, int]
    columns: int
    rows: int
    pitch_hw: tuple[int, int]
    origin_yx: tuple[int, int]
    label_px: int
    label_band_px: int
    gap_px: int
    header_yx: tuple[int, int]
    header: HeaderPlan
    size_hw: tuple[int, int]

    @property
    def factor(self) -> int | None:
        """How many pixels a cell is wide and high; None where maps are drawn reduced."""
        factor = self.tile_hw[0] // self.map_hw[0]
        whole = (self.map_hw[0] * factor, self.map_hw[1] * factor)
        return factor if factor and whole == self.tile_hw else None

    def tile_yx(self, index: int) -> tuple[int, int]:
        """Give the upper left corner of a tile.

        Args:
            index: 0 to ``count - 1``.

        Returns:
            Row and column of its first pixel.

        Raises:
            IndexError: No such tile.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"tile {index} of {self.count}")
        row, column = divmod(index, self.columns)
        return self.origin_yx[0] + row * self.pitch_hw[0], self.origin_yx[1] + column * self.pitch_hw[1]


def sheet_layout(
    count: int,
    map_hw: tuple[int, int],
    *,
    header: Sequence[str] = (),
    labels: Sequence[str] | None = None,
    bar: bool = False,
    columns: int | None = None,
    tile_px: int | None = None,
    gap_px: int = 6,
    max_px: int = 4096,
) -> SheetLayout:
    """Lay out a sheet as ``draw_sheet`` draws it.

    Args:
        count: Number of tiles.
        map_hw: Height and width of a map, cells.
        header: As for ``draw_sheet``.
        labels: As for ``draw_sheet``.
        bar: Whether the header has a colour bar.
        columns: As for ``draw_sheet``.
        tile_px: As for ``draw_sheet``.
        gap_px: As for ``draw_sheet``.
        max_px: As for ``draw_sheet``.

    Returns:
        The layout, with which ``cut_tiles`` takes the sheet apart again.

    Raises:
        InputError: Maps without cells.
        OptionError: A size below 1.

    >>> layout = sheet_layout(1024, (13, 13))
    >>> layout.factor, layout.columns, layout.rows
    (5, 32, 32)
    """
    _check_options(count, map_hw, columns=columns, tile_px=tile_px, gap_px=gap_px + 1, max_px=max_px)
    map_hw = (max(map_hw[0], 1), max(map_hw[1], 1))
    wanted = tile_px
    while True:
        layout = _layout_at(count, map_hw, tile_size(map_hw, wanted), header, labels, bar, columns, gap_px)
        longer = max(layout.tile_hw)
        if tile_px is not None or max(layout.size_hw) <= max_px or longer <= _SMALLEST_TILE_PX:
            return layout
        # Enlarged tiles lose a whole factor at a time, reduced ones a little.
        wanted = longer - max(layout.map_hw) if (layout.factor or 1) > 1 else longer - max(1, longer // 32)


def _layout_at(
    count: int,
    map_hw: tuple[int, int],
    tile_hw: tuple[int, int],
    header: Sequence[str],
    labels: Sequence[str] | None,
    bar: bool,
    columns: int | None,
    gap_px: int,
) -> SheetLayout:
    """Lay out a sheet whose tiles have a given size."""
    label_px = min(max(round(max(tile_hw) / 13), 11), 18)
    names = [str(max(count - 1, 0))] if labels is None else list(labels)
    label_width = min(max((text_width(name, label_px) for name in names), default=0), _WIDEST_LABEL_PX)
    band = line_height(label_px) + 2 if label_width else 0
    pitch_hw = (tile_hw[0] + band + gap_px, max(tile_hw[1], label_width) + gap_px)
    columns = min(columns, max(count, 1)) if columns else grid_columns(count, pitch_hw)
    rows = math.ceil(count / columns)
    grid_hw = (max(rows * pitch_hw[0] - gap_px, 0), columns * pitch_hw[1] - gap_px if rows else 0)
    margin = max(_MARGIN_PX, gap_px) if header or bar or band else gap_px
    plan = plan_header(header, bar=bar, width_px=max(grid_hw[1], _NARROWEST_HEADER_PX))
    header_room = plan.size_hw[0] + margin if plan.size_hw[0] else 0
    return SheetLayout(
        count=count,
        map_hw=map_hw,
        tile_hw=tile_hw,
        columns=columns,
        rows=rows,
        pitch_hw=pitch_hw,
        origin_yx=(margin + header_room + band, margin),
        label_px=label_px,
        label_band_px=band,
        gap_px=gap_px,
        header_yx=(margin, margin),
        header=plan,
        size_hw=(
            max(margin + header_room + grid_hw[0] + (margin if rows else 0), 1),
            max(2 * margin + max(grid_hw[1], plan.size_hw[1]), 1),
        ),
    )


def cut_tiles(image: Image.Image | NDArray[np.uint8], layout: SheetLayout) -> NDArray[np.uint8]:
    """Cut the tiles out of a sheet again.

    Args:
        image: A sheet drawn with this layout.
        layout: Where its tiles lie.

    Returns:
        (C, H, W) uint8 from a grey sheet, (C, H, W, 3) from one in colour: the maps as they went
        in where they were drawn enlarged or as they are, else the reduced tiles.

    Raises:
        InputError: The picture is not of the layout's size.
    """
    sheet = np.asarray(image)
    if sheet.shape[:2] != layout.size_hw:
        raise InputError(f"expected a sheet of {layout.size_hw} pixels, got {sheet.shape[:2]}")
    step = layout.factor or 1
    height, width = layout.tile_hw
    corners = [layout.tile_yx(index) for index in range(layout.count)]
    tiles = [sheet[y : y + height : step, x : x + width : step] for y, x in corners]
    return np.stack(tiles) if tiles else np.zeros((0, *layout.map_hw, *sheet.shape[2:]), np.uint8)


def _check_options(count: int, map_hw: Sequence[int], **least_one: Any) -> None:
    """Refuse maps without cells and options below 1.

    Raises:
        InputError: A map has no cells.
        OptionError: An option is below 1.
    """
    if count and min(map_hw) < 1:
        raise InputError(f"cannot draw maps without cells, got {map_hw[0]} x {map_hw[1]}")
    for name, number in least_one.items():
        if number is not None and number < 1:
            raise OptionError(f"{name} must be at least 1, got {number}")
