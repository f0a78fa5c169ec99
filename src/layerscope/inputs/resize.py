"""Resizing of byte pictures: OpenCV's bilinear to the bit, and antialiased filters beside it.

``cv2.resize`` is what most detection code was trained with, so its bytes are what a network
expects; it is rebuilt here in NumPy because OpenCV's wheels overwrite each other in users'
environments and can be no dependency. OpenCV's filters do not widen when shrinking, so they
alias; the ``-aa`` filters are Pillow's, which do widen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from layerscope.errors import InputError, OptionError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# OpenCV's fixed point: weights are rounded to 11 bits; a product of two of them carries 22, of
# which 4 are dropped between the passes, 16 after the second and the last 2 with rounding.
_WEIGHT_ONE = 1 << 11
_CHUNK_VALUES = 1 << 18
_WHOLE_PIXELS = 1 << 24


class Window(NamedTuple):
    """The part of the resized picture that is wanted, in its pixels."""

    top: int
    left: int
    height: int
    width: int


def resize(
    pixels: NDArray[np.uint8],
    size_hw: tuple[int, int],
    filter: str = "bilinear",  # noqa: A002 - the option's public name
    *,
    window: Window | None = None,
) -> NDArray[np.uint8]:
    """Resize a picture.

    Args:
        pixels: (H, W, 3) uint8.
        size_hw: Height and width of the result, pixels.
        filter: A name of `FILTERS`. ``bilinear`` and ``nearest`` equal ``cv2.resize`` bit for bit.
        window: Compute this part of the result only; what lies outside costs nothing.

    Returns:
        (height, width, 3) uint8 of the size or of the window, a new array.

    Raises:
        OptionError: The filter is unknown, or the size or window is not positive or does not fit.
        InputError: The pixels are not (H, W, 3) uint8.

    >>> row = np.array([[[0, 0, 0], [100, 50, 0]]], np.uint8)
    >>> resize(row, (1, 4))[0, :, 0].tolist()
    [0, 25, 75, 100]
    >>> resize(row, (1, 4), window=Window(0, 1, 1, 2))[0, :, 0].tolist()
    [25, 75]
    """
    if filter not in FILTERS:
        choices = ", ".join(FILTERS)
        raise OptionError(f"unknown filter {filter!r}: expected one of {choices}{nearest(filter, FILTERS)}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputError(f"expected (H, W, 3) uint8 pixels, got {pixels.shape} {pixels.dtype}")
    window = Window(0, 0, *size_hw) if window is None else window
    fits = 0 <= window.top <= size_hw[0] - window.height and 0 <= window.left <= size_hw[1] - window.width
    if min(*size_hw, window.height, window.width) < 1 or not fits:
        raise OptionError(f"expected a positive size and a window inside it, got {size_hw} and {window}")
    if pixels.shape[:2] == size_hw:
        return _cut(pixels, window)
    return FILTERS[filter](pixels, size_hw, window)


def _bilinear(pixels: NDArray[np.uint8], size_hw: tuple[int, int], window: Window) -> NDArray[np.uint8]:
    """Do what ``cv2.resize(..., INTER_LINEAR)`` does on bytes, in bounded memory.

    At exactly half the size OpenCV averages 2 x 2 blocks instead; this rule gives the same bytes there.
    """
    height, width = pixels.shape[:2]
    columns, column_weights = _taps(width, size_hw[1], window.left, window.width)
    rows, row_weights = _taps(height, size_hw[0], window.top, window.height)
    byte_columns = (columns[:, :, None] * 3 + np.arange(3)).reshape(2, -1)
    byte_weights = np.repeat(column_weights, 3, axis=1)

    result = np.empty((window.height, window.width * 3), np.uint8)
    step = max(1, _CHUNK_VALUES // max(result.shape[1], width * 3))
    for start in range(0, window.height, step):
        here = slice(start, start + step)
        needed, places = np.unique(rows[:, here], return_inverse=True)
        # Both neighbours' weighted sum along the row, at most 255 * 2048 >> 4.
        lines = pixels[needed].reshape(len(needed), -1)
        across = np.multiply(lines.take(byte_columns[0], axis=1), byte_weights[0], dtype=np.int32)
        across += np.multiply(lines.take(byte_columns[1], axis=1), byte_weights[1], dtype=np.int32)
        across >>= 4
        # OpenCV drops 16 bits from each of the two summands, not from their sum.
        upper, lower = places.reshape(2, -1)
        down = across[upper] * row_weights[0, here, None]
        down >>= 16
        second = across[lower] * row_weights[1, here, None]
        second >>= 16
        down += second
        down += 2
        down >>= 2
        result[here] = down
    return result.reshape(window.height, window.width, 3)


def _taps(old: int, new: int, start: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Find each output position's two neighbours along one axis and their fixed-point weights.

    Beyond the border pixel's centre both neighbours are that pixel, and share the weight.

    Args:
        old: Length of the source axis.
        new: Length of the resized axis.
        start: First output position wanted.
        count: How many positions.

    Returns:
        (2, count) indices and (2, count) int32 weights in 1/2048.
    """
    scale = 1.0 / (new / old)
    position = ((np.arange(start, start + count) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.intp)
    part = position - first.astype(np.float32)
    weights = np.stack([np.float32(1) - part, part]) * np.float32(_WEIGHT_ONE)
    return np.clip(np.stack([first, first + 1]), 0, old - 1), np.rint(weights).astype(np.int32)


def _nearest(pixels: NDArray[np.uint8], size_hw: tuple[int, int], window: Window) -> NDArray[np.uint8]:
    """Do what ``cv2.resize(..., INTER_NEAREST)`` does: the pixel at or before each position."""
    rows, columns = (
        np.minimum(np.floor(np.arange(start, start + count) * (1.0 / (new / old))).astype(np.intp), old - 1)
        for old, new, start, count in zip(pixels.shape[:2], size_hw, window[:2], window[2:], strict=True)
    )
    return np.ascontiguousarray(pixels[rows][:, columns])


def _pillow(
    resampling: Image.Resampling,
) -> Callable[[NDArray[np.uint8], tuple[int, int], Window], NDArray[np.uint8]]:
    """Wrap one of Pillow's filters, whose support widens with the shrinking.

    The whole is resized and then cut, up to a size; beyond it (a window of a picture some pixels
    high and thousands wide) Pillow's ``box`` saves the memory at the price of a rounding.
    """

    def resized(pixels: NDArray[np.uint8], size_hw: tuple[int, int], window: Window) -> NDArray[np.uint8]:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if size_hw[0] * size_hw[1] <= _WHOLE_PIXELS:
            return _cut(np.asarray(image.resize((size_hw[1], size_hw[0]), resampling)), window)
        step_y, step_x = pixels.shape[0] / size_hw[0], pixels.shape[1] / size_hw[1]
        box = (
            window.left * step_x,
            window.top * step_y,
            min((window.left + window.width) * step_x, pixels.shape[1]),
            min((window.top + window.height) * step_y, pixels.shape[0]),
        )
        return np.asarray(image.resize((window.width, window.height), resampling, box=box)).copy()

    return resized


def _cut(pixels: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """Copy the window out of a picture that has the right size already."""
    return pixels[window.top :, window.left :][: window.height, : window.width].copy()


FILTERS: dict[str, Callable[[NDArray[np.uint8], tuple[int, int], Window], NDArray[np.uint8]]] = {
    "bilinear": _bilinear,
    "nearest": _nearest,
    "box-aa": _pillow(Image.Resampling.BOX),
    "bilinear-aa": _pillow(Image.Resampling.BILINEAR),
    "bicubic-aa": _pillow(Image.Resampling.BICUBIC),
    "lanczos-aa": _pillow(Image.Resampling.LANCZOS),
}
