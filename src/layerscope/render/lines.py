"""Channels that have one axis only, drawn as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draw_lines"]

HEIGHT_PX = 64
LEAST_WIDTH_PX = 128


def draw_lines(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Plot each channel: the lowest value at the bottom, the highest at the top.

    Every value has columns of its own; from one value to the next the line is closed.

    Args:
        levels: (C, L) uint8.

    Returns:
        (C, 64, W) uint8, white on black, W a multiple of L and at least 128.

    >>> draw_lines(np.array([[0, 255]], np.uint8))[0, [0, -1], :].max(axis=1).tolist()
    [255, 255]
    """
    channels, length = levels.shape
    if not length:
        return np.zeros((channels, HEIGHT_PX, LEAST_WIDTH_PX), np.uint8)
    rows = (HEIGHT_PX - 1) - levels.astype(np.int32) * (HEIGHT_PX - 1) // 255
    before = np.concatenate([rows[:, :1], rows[:, :-1]], axis=1)
    span = np.stack([np.minimum(rows, before), np.maximum(rows, before)])
    # The first column of a value closes the way from the one before, the others are its own.
    columns = max(1, -(-LEAST_WIDTH_PX // length))
    top, bottom = (np.repeat(ends, columns, axis=1) for ends in (rows, rows))
    top[:, ::columns], bottom[:, ::columns] = span
    y = np.arange(HEIGHT_PX)[:, None]
    drawn = (y >= top[:, None, :]) & (y <= bottom[:, None, :])
    return drawn.astype(np.uint8) * np.uint8(255)
