"""Whatever holds a picture, to (H, W, 3) uint8 RGB.

Alpha is dropped, not composited: ``cv2.imread`` and Pillow's ``convert("RGB")``, with which
networks are trained, both drop it, so the network sees what it would have seen in training,
and no background colour has to be made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_ORIENTATION_TAG = 0x0112


def array_to_rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn a user's array into RGB bytes.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA; uint8, or floats in 0..1, which
            are multiplied by 255 and rounded.

    Returns:
        (H, W, 3) uint8, always a copy.

    Raises:
        InputError: Another shape or type, no pixels, or floats outside 0..1 (or NaN).

    >>> array_to_rgb(np.array([[0.0, 0.5, 1.0]]))[0, :, 0].tolist()
    [0, 128, 255]
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; channels come last: array.transpose(1, 2, 0)" if first else ""
        raise InputError(f"expected an array (H, W), (H, W, 3) or (H, W, 4), got {array.shape}{hint}")
    if array.size == 0:
        raise InputError(f"expected at least one pixel, got an array {array.shape}")
    if np.issubdtype(array.dtype, np.floating):
        array = _bytes_from_unit(array)
    elif array.dtype != np.uint8:
        raise InputError(f"expected uint8 pixels (0..255) or floats in 0..1, got {array.dtype}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    return array[:, :, :3].copy(order="C")


def image_to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Turn a Pillow image of any mode into RGB bytes, the EXIF turn applied.

    16-bit grey is divided by 257 and rounded, so that 65535 becomes 255; so are 32-bit integers,
    as which some formats hand over 16-bit grey. Floats must lie in 0..1.

    Args:
        image: Any image; it is loaded but not changed.

    Returns:
        (H, W, 3) uint8, a new array.

    Raises:
        InputError: 32-bit integers outside 0..65535, or floats outside 0..1.
        ValueError: A mode that Pillow cannot convert, such as LAB.
    """
    image.load()
    mode = image.mode
    if mode == "F":
        pixels = array_to_rgb(np.asarray(image))
    elif mode.startswith("I"):
        pixels = array_to_rgb(_bytes_from_16_bit(np.asarray(image)))
    elif mode == "1":
        pixels = array_to_rgb(np.asarray(image).astype(np.uint8) * np.uint8(255))
    elif mode in ("L", "RGB"):
        pixels = array_to_rgb(np.asarray(image))
    else:
        if mode in ("P", "PA"):
            # Straight to RGB, Pillow would look for a spare palette entry for the transparent one.
            image = image.convert("RGBA")
        pixels = np.array(image.convert("RGB"))
    return np.ascontiguousarray(_upright(pixels, _orientation(image)))


def _bytes_from_unit(array: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise InputError(f"expected float pixels in 0..1, got {low:g} to {high:g}")
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _bytes_from_16_bit(array: NDArray[Any]) -> NDArray[np.uint8]:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise InputError(f"expected 16-bit grey (0..65535), got integers from {low} to {high}")
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8; an unreadable EXIF block is no turn."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # Pillow's EXIF parser raises whatever a broken block leads it to. The pixels are whole.
        return 1
    return value if value in range(1, 9) else 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo a camera's turn: 2 to 4 flip, 5 to 8 swap the axes (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
