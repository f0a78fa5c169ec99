"""A map in colour over the frame that it came from, each cell on the pixels that it covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from layerscope.errors import InputError, OptionError, nearest
from layerscope.render.colour import apply_colormap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from layerscope.inputs.frame import Placement

__all__ = ["INTERPOLATIONS", "draw_overlay"]

INTERPOLATIONS = ("bilinear", "nearest")

# Rows worked on at once: what they need stays in the processor's cache.
_BLOCK_PIXELS = 1 << 18


def draw_overlay(
    values: NDArray[np.uint8] | NDArray[np.floating],
    pixels: NDArray[np.uint8],
    placement: Placement,
    *,
    colormap: str = "inferno",
    alpha: float = 0.5,
    interpolation: str = "bilinear",
    weigh_alpha: bool = False,
) -> Image.Image:
    """Lay a map in colour over its frame.

    The centre of each frame pixel is taken into the network's input by the placement, and from
    there into the map, whose h x w cells divide the input evenly. ``nearest`` shows the cell that
    the centre falls in; ``bilinear`` blends between the centres of cells, with the outermost
    cells going on to the border. Frame pixels that the network did not see keep their own colour.

    Args:
        values: (h, w), or (h, w, 3) for a map that is in colour already: uint8 or floats in [0, 1] (clipped;
            NaN as 0).
        pixels: (H, W, 3) uint8 RGB, the frame.
        placement: Where the frame lies in the input.
        colormap: The map's colours.
        alpha: How much of the colour is laid on, 0 to 1, in steps of 1/255.
        interpolation: ``bilinear`` or ``nearest``.
        weigh_alpha: Lay on less where the value is small: alpha times the value. A map in colour is laid on evenly.

    Returns:
        (H, W) RGB picture.

    Raises:
        InputError: Arrays of another shape, or a frame that is not the placement's.
        OptionError: No such colour map or interpolation, or alpha outside 0 to 1.
    """
    unit = _checked(values, pixels, placement, alpha, interpolation)
    height, width = placement.frame_hw
    rows, row_cells = _cells_along(height, placement, unit.shape[0], axis=0)
    columns, column_cells = _cells_along(width, placement, unit.shape[1], axis=1)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if not len(row_cells) or not len(column_cells):
        return picture
    box = (columns.start, rows.start, columns.stop, rows.stop)
    if unit.ndim == 3:
        bands = [_sample(unit[:, :, band], row_cells, column_cells, interpolation) for band in range(3)]
        levels = np.stack(bands, axis=2)
        colours = Image.fromarray(levels)
    else:
        levels = _sample(unit, row_cells, column_cells, interpolation)
        colours = Image.fromarray(apply_colormap(levels, colormap))
    if weigh_alpha and levels.ndim == 2:
        steps = np.rint(np.arange(256) * alpha).astype(np.uint8)
        weight = Image.fromarray(steps[levels])
    else:
        weight = Image.new("L", colours.size, round(alpha * 255))
    picture.paste(colours, box, weight)
    return picture


def _checked(
    values: NDArray[np.uint8] | NDArray[np.floating],
    pixels: NDArray[np.uint8],
    placement: Placement,
    alpha: float,
    interpolation: str,
) -> NDArray[np.float32]:
    """Refuse what cannot be laid over; return the map as (h, w) or (h, w, 3) float32 in [0, 1]."""
    values = np.asarray(values)
    if values.shape[2:] not in ((), (3,)) or values.ndim < 2 or values.size == 0:
        raise InputError(f"expected an (H, W) map, got shape {values.shape}; choose a channel or reduce it")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise InputError(f"expected (H, W, 3) uint8 pixels, got shape {pixels.shape} of {pixels.dtype}")
    if pixels.shape[:2] != placement.frame_hw:
        raise InputError(f"the placement is for a frame of {placement.frame_hw}, got {pixels.shape[:2]}")
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha must lie in 0 to 1, got {alpha:g}")
    if interpolation not in INTERPOLATIONS:
        near = nearest(interpolation, INTERPOLATIONS)
        raise OptionError(f"no interpolation '{interpolation}'; choose bilinear or nearest{near}")
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255)
    return np.nan_to_num(np.clip(values, 0, 1).astype(np.float32), nan=0.0)


def _cells_along(frame_px: int, placement: Placement, cells: int, *, axis: int) -> tuple[slice, NDArray[np.float64]]:
    """Take the centres of frame pixels along one axis into cells.

    Args:
        frame_px: Length of the frame along the axis, pixels.
        placement: Where the frame lies in the input.
        cells: Length of the map.
        axis: 0 down, 1 across.

    Returns:
        The pixels whose centres lie within the input, and for each of these its position in
        cells, from 0 at the map's border to ``cells`` at the other.
    """
    xy = 1 - axis
    at_input = (np.arange(frame_px) + 0.5) * placement.scale_xy[xy] + placement.offset_xy[xy]
    # Scales are positive, so the pixels within are one run.
    start, stop = np.searchsorted(at_input, [0.0, placement.input_hw[axis]])
    at_cells = (at_input[start:stop] * (cells / placement.input_hw[axis])).astype(np.float64)
    return slice(int(start), int(stop)), at_cells


def _sample(
    unit: NDArray[np.float32],
    row_cells: NDArray[np.float64],
    column_cells: NDArray[np.float64],
    interpolation: str,
) -> NDArray[np.uint8]:
    """Sample a map at the crossings of rows and columns; rows first, then columns, by blocks.

    Args:
        unit: (h, w) in [0, 1].
        row_cells: (H,) positions down the map, in cells.
        column_cells: (W,) positions across.
        interpolation: ``bilinear`` or ``nearest``.

    Returns:
        (H, W) uint8.
    """
    if interpolation == "nearest":
        levels = np.rint(unit * 255).astype(np.uint8)
        rows, columns = (
            np.minimum(cells.astype(np.intp), length - 1)
            for cells, length in zip((row_cells, column_cells), unit.shape, strict=True)
        )
        nearest_levels: NDArray[np.uint8] = levels[:, columns][rows]
        return nearest_levels
    above, below, down = _neighbours(row_cells, unit.shape[0])
    left, right, across = _neighbours(column_cells, unit.shape[1])
    result = np.empty((len(row_cells), len(column_cells)), np.uint8)
    step = max(1, _BLOCK_PIXELS // len(column_cells))
    scaled = unit * np.float32(255)
    for start in range(0, len(row_cells), step):
        block = slice(start, start + step)
        weight = down[block, None]
        lines = scaled[above[block]] * (1 - weight) + scaled[below[block]] * weight
        blend = np.take(lines, left, axis=1)
        blend += (np.take(lines, right, axis=1) - blend) * across
        result[block] = np.rint(blend, out=blend)
    return result


def _neighbours(
    positions: NDArray[np.float64], cells: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Find the two cells whose centres a position lies between, and how near the second is."""
    from_centre = np.clip(positions - 0.5, 0, cells - 1)
    first = from_centre.astype(np.intp)
    second = np.minimum(first + 1, cells - 1)
    return first, second, (from_centre - first).astype(np.float32)
