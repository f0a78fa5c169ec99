"""What happens to a scene on its way into a file: uneven light, blur, noise, compression."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["photograph"]


def photograph(canvas: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn a painted scene into a picture.

    Args:
        canvas: (3, H, W) float32 RGB from 0 to 255; changed on the way.
        rng: Chooses what goes wrong, and how much.

    Returns:
        (H, W, 3) uint8.
    """
    if rng.random() < 0.7:
        _light_unevenly(canvas, rng)
    if rng.random() < 0.5:
        _add_noise(canvas, rng.uniform(2, 12), rng)
    pixels = np.empty((*canvas.shape[1:], 3), np.uint8)
    for channel, plane in enumerate(canvas):
        pixels[:, :, channel] = np.clip(plane + np.float32(0.5), 0, 255)
    if rng.random() < 0.3:
        blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.3)))
        pixels = np.asarray(blurred)
    if rng.random() < 0.4:
        pixels = _compressed(pixels, int(rng.integers(35, 92)))
    return pixels


def _light_unevenly(canvas: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Make it brighter here and darker there, and a little warmer or colder."""
    strength = rng.uniform(0.05, 0.3)
    coarse = rng.uniform(1 - strength, 1 + strength, (3, 3)).astype(np.float32)
    smooth = Image.fromarray(coarse).resize(canvas.shape[:0:-1], Image.Resampling.BICUBIC)
    tint = rng.uniform(0.97, 1.03, 3).astype(np.float32)
    light = np.asarray(smooth, np.float32)
    for plane, factor in zip(canvas, tint, strict=True):
        plane *= light * factor


def _add_noise(canvas: NDArray[np.float32], deviation: float, rng: np.random.Generator) -> None:
    """Add to every value the sum of two even random numbers, which is close enough to a sensor's noise."""
    scale = np.float32(deviation / 104.5)  # two bytes deviate by 73.9 each
    for plane in canvas:
        first, second = np.frombuffer(rng.bytes(2 * plane.size), np.uint8).reshape(2, *plane.shape)
        plane += np.add(first, second, dtype=np.float32) * scale - 255 * scale


def _compressed(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Write as JPEG and read again."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))
