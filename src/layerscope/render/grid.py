"""How large a tile is drawn, and how many make a row."""

from __future__ import annotations

import math

__all__ = ["grid_columns", "tile_size"]

# Small maps are enlarged to this; thin ones until their shorter side is seen as well.
_LONG_SIDE_PX, _SHORT_SIDE_PX, _THIN_LONG_SIDE_PX = 64, 16, 256

# How far from square a sheet may be for the sake of a full last row.
_SQUARE_ENOUGH = 1.25


def grid_columns(count: int, pitch_hw: tuple[int, int]) -> int:
    """Choose how many cells a row has, so that the whole is nearly square.

    Among the grids that are square enough the one with the fewest empty cells is taken, and the
    squarest of these; a grid that is wider than high wins over its mirror image.

    >>> grid_columns(1024, (85, 71)), grid_columns(64, (230, 214)), grid_columns(5, (60, 86))
    (32, 8, 2)
    """
    ideal = math.sqrt(max(count, 1) * pitch_hw[0] / pitch_hw[1])
    spread = range(max(1, math.floor(ideal / 2)), min(max(count, 1), math.ceil(ideal * 2)) + 1)
    best, best_score = 1, (math.inf, math.inf)
    for columns in spread or [max(count, 1)]:
        rows = math.ceil(max(count, 1) / columns)
        ratio = columns * pitch_hw[1] / (rows * pitch_hw[0])
        oblong = max(ratio, 1 / ratio) + (1e-6 if ratio < 1 else 0)
        empty = rows * columns - count
        # Past square enough, shape decides alone.
        score = (float(empty), oblong) if oblong <= _SQUARE_ENOUGH else (math.inf, oblong)
        if score < best_score:
            best, best_score = columns, score
    return best


def tile_size(map_hw: tuple[int, int], long_px: int | None = None) -> tuple[int, int]:
    """Choose how large a map is drawn.

    Args:
        map_hw: Height and width of the map, cells.
        long_px: The longer side wanted; None enlarges small maps so that they can be seen.

    Returns:
        Height and width in pixels: a whole multiple of the map's, the largest within ``long_px``;
        or, where the map itself is larger than that, its proportions at ``long_px``.

    >>> tile_size((13, 13)), tile_size((208, 208)), tile_size((416, 208), 100), tile_size((13, 13), 100)
    ((65, 65), (208, 208), (100, 50), (91, 91))
    """
    height, width = map_hw
    longer, shorter = max(map_hw), min(map_hw)
    if long_px is None:
        thin = min(math.ceil(_SHORT_SIDE_PX / shorter), _THIN_LONG_SIDE_PX // longer)
        factor = max(1, math.ceil(_LONG_SIDE_PX / longer), thin)
        return height * factor, width * factor
    if long_px >= longer:
        factor = long_px // longer
        return height * factor, width * factor
    return max(1, round(height * long_px / longer)), max(1, round(width * long_px / longer))
