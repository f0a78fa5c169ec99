"""Colours by name, and patterns between two tones of a colour."""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]

__all__ = [
    "PALETTE_DEG",
    "STRIPE_ANGLES_DEG",
    "TEXTURES",
    "clouds",
    "colour_name",
    "crisp_wave",
    "rgb",
    "texture",
    "tones",
]

PALETTE_DEG = {
    "red": 0.0,
    "orange": 28.0,
    "yellow": 54.0,
    "green": 120.0,
    "cyan": 182.0,
    "blue": 222.0,
    "purple": 274.0,
    "pink": 324.0,
}
"""Hue of every colour name, degrees."""

HUE_JITTER_DEG = 6.0
TEXTURES = ("flat", "stripes", "checks", "noise")
STRIPE_ANGLES_DEG = (0.0, 22.5, 45.0, 67.5, 90.0, 112.5, 135.0, 157.5)
"""Directions of stripes, counter-clockwise as seen from the picture's horizontal: 0 is lying, 90 is upright."""


def rgb(hue_deg: float, saturation: float, value: float) -> Field:
    """Convert one colour to (3, 1, 1) float32 RGB from 0 to 255."""
    return np.array(colorsys.hsv_to_rgb(hue_deg / 360 % 1, saturation, value), np.float32)[:, None, None] * 255


def colour_name(hue_deg: float) -> str:
    """Name the palette's colour that is nearest in hue.

    >>> colour_name(358), colour_name(100)
    ('red', 'green')
    """
    return min(PALETTE_DEG, key=lambda name: abs((hue_deg - PALETTE_DEG[name] + 180) % 360 - 180))


def tones(name: str, rng: np.random.Generator) -> tuple[Field, Field]:
    """Make an object's main and second tone, of one hue.

    Returns:
        Two (3, 1, 1) float32 RGB colours; the second is clearly darker or clearly paler.
    """
    hue = PALETTE_DEG[name] + rng.uniform(-HUE_JITTER_DEG, HUE_JITTER_DEG)
    saturation, value = rng.uniform(0.72, 0.95), rng.uniform(0.78, 0.98)
    if rng.random() < 0.5:
        second = rgb(hue, saturation, value * rng.uniform(0.40, 0.58))
    else:
        second = rgb(hue, saturation * rng.uniform(0.25, 0.40), min(1.0, value + 0.15))
    return rgb(hue, saturation, value), second


def texture(
    name: str, hw: tuple[int, int], size_px: float, angle_deg: float | None, rng: np.random.Generator
) -> Field | None:
    """Draw how far each pixel goes from the main tone to the second one.

    Args:
        name: One of ``TEXTURES``.
        hw: Height and width of the patch.
        size_px: Size of the object: small ones have finer patterns.
        angle_deg: Direction of stripes, else of no meaning.
        rng: Chooses period and phase.

    Returns:
        (H, W) float32 from 0 to 1; None for ``flat``, which is the main tone alone.
    """
    if name == "flat":
        return None
    period = float(np.clip(size_px * rng.uniform(0.16, 0.30), 6, 26))
    if name == "noise":
        field = 2.5 * clouds(hw, max(3.0, period / 3), rng) - np.float32(0.75)
        return field.clip(0, 1, out=field)
    direction = angle_deg if name == "stripes" and angle_deg is not None else rng.uniform(0, 90)
    first = crisp_wave(hw, period, direction, rng.random())
    if name == "stripes":
        return 0.5 + 0.5 * first
    return 0.5 + 0.5 * first * crisp_wave(hw, period, direction + 90, rng.random())


def crisp_wave(hw: tuple[int, int], period_px: float, direction_deg: float, phase: float) -> Field:
    """Draw stripes of equal width, -1 and 1, whose edges are a pixel wide.

    Args:
        hw: Height and width.
        period_px: From one stripe to the next of its kind.
        direction_deg: Of the stripes' length, counter-clockwise as seen.
        phase: Where they begin, in periods.
    """
    angle = math.radians(direction_deg)
    turns = 2 * math.pi / period_px
    x = np.arange(hw[1], dtype=np.float32) * np.float32(math.sin(angle) * turns)
    y = np.arange(hw[0], dtype=np.float32) * np.float32(math.cos(angle) * turns) + np.float32(2 * math.pi * phase)
    wave: Field = np.outer(np.sin(y), np.cos(x)) + np.outer(np.cos(y), np.sin(x))  # the sine of x + y
    wave *= np.float32(period_px / math.pi)
    return wave.clip(-1, 1, out=wave)


def clouds(hw: tuple[int, int], grain_px: float, rng: np.random.Generator) -> Field:
    """Draw smooth noise with blobs of about a size: (H, W) float32 from 0 to 1, on average a half."""
    height, width = (max(2, round(side / grain_px) + 1) for side in hw)
    coarse = Image.fromarray(rng.random((height, width), np.float32))
    smooth = np.asarray(coarse.resize((hw[1], hw[0]), Image.Resampling.BICUBIC), np.float32)
    return np.clip(smooth, 0, 1)
