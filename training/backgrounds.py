"""Grounds that are hard to see objects on: patterns, clutter that is none of the classes, and shadows of nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from paint import clouds, crisp_wave, rgb

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Field = NDArray[np.float32]

__all__ = ["background"]

MOST_LINES = 14
MOST_BLOBS = 6


def background(side_px: int, rng: np.random.Generator) -> Field:
    """Paint a ground.

    Returns:
        (3, side, side) float32 RGB from 0 to 255.
    """
    first, second = _two_colours(rng)
    ground = list(GROUNDS.values())[rng.integers(len(GROUNDS))]
    mix = ground(side_px, rng)
    canvas = np.empty((3, side_px, side_px), np.float32)
    for plane, base, change in zip(canvas, first, second - first, strict=True):
        np.multiply(mix, change, out=plane)
        plane += base
    if rng.random() < 0.6:
        _blend(canvas, _blobs(side_px, rng), _clutter_colour(first, rng))
    if rng.random() < 0.7:
        for _ in range(rng.integers(1, 3)):
            _blend(canvas, _lines(side_px, rng), _clutter_colour(second, rng))
    if rng.random() < 0.5:
        light = 1 - np.float32(rng.uniform(0.2, 0.5)) * _bands_of_shadow(side_px, rng)
        for plane in canvas:
            plane *= light
    return canvas


def _two_colours(rng: np.random.Generator) -> tuple[Field, Field]:
    """Choose two quiet colours that go together; now and then a loud one."""
    hue, value = rng.uniform(0, 360), rng.uniform(0.22, 0.95)
    saturation = rng.uniform(0.3, 0.7) if rng.random() < 0.2 else rng.uniform(0.02, 0.35)
    first = rgb(hue, saturation, value)
    other_value = float(np.clip(value + rng.choice((-1, 1)) * rng.uniform(0.12, 0.38), 0.1, 1))
    second = rgb(hue + rng.normal(0, 40), saturation * rng.uniform(0.4, 1.2), other_value)
    return first, second


def _clutter_colour(ground: Field, rng: np.random.Generator) -> Field:
    """Choose a colour for lines or blobs: usually near the ground's, sometimes any."""
    anything = rgb(rng.uniform(0, 360), rng.uniform(0.1, 0.8), rng.uniform(0.15, 0.95))
    share = np.float32(rng.uniform(0.2, 0.55) if rng.random() < 0.7 else 0.9)
    return ground + share * (anything - ground)


def _gradient(side_px: int, rng: np.random.Generator) -> Field:
    angle = rng.uniform(0, 2 * math.pi)
    along = np.linspace(-0.5, 0.5, side_px, dtype=np.float32)
    ramp = along * np.float32(math.cos(angle)) + (along * np.float32(math.sin(angle)))[:, None]
    return ramp + np.float32(0.5)


def _vignette(side_px: int, rng: np.random.Generator) -> Field:
    x, y = rng.uniform(0.2, 0.8, 2)
    along = np.linspace(0, 1, side_px, dtype=np.float32)
    return np.sqrt((along - np.float32(x)) ** 2 + ((along - np.float32(y)) ** 2)[:, None])


def _cloudy(side_px: int, rng: np.random.Generator) -> Field:
    """Noise of several sizes on top of each other."""
    grain = side_px / rng.uniform(2, 9)
    field = clouds((side_px, side_px), grain, rng)
    for octave in (1, 2):
        field += np.float32(0.5**octave) * clouds((side_px, side_px), grain / 3**octave, rng)
    return field / np.float32(1.75)


def _striped(side_px: int, rng: np.random.Generator) -> Field:
    wave = crisp_wave((side_px, side_px), rng.uniform(8, 60), rng.uniform(0, 180), rng.random())
    return 0.5 + np.float32(rng.uniform(0.15, 0.5)) * wave


def _checked(side_px: int, rng: np.random.Generator) -> Field:
    direction, period = rng.uniform(0, 90), rng.uniform(12, 52)
    first = crisp_wave((side_px, side_px), period, direction, rng.random())
    first *= crisp_wave((side_px, side_px), period, direction + 90, rng.random())
    return 0.5 + np.float32(rng.uniform(0.12, 0.4)) * first


def _grainy(side_px: int, rng: np.random.Generator) -> Field:
    """Short fibres in one direction, as of wood or cloth."""
    fine = clouds((side_px, side_px), rng.uniform(1.5, 3), rng)
    squeezed = Image.fromarray(fine).resize((side_px, max(2, side_px // 12)), Image.Resampling.BOX)
    fibres = np.asarray(squeezed.resize((side_px, side_px), Image.Resampling.BICUBIC), np.float32)
    fibres = 2.2 * fibres - np.float32(0.6)
    fibres.clip(0, 1, out=fibres)
    return fibres.T if rng.random() < 0.5 else fibres


GROUNDS: dict[str, Callable[[int, np.random.Generator], Field]] = {
    "gradient": _gradient,
    "vignette": _vignette,
    "cloudy": _cloudy,
    "striped": _striped,
    "checked": _checked,
    "grainy": _grainy,
}


def _blend(canvas: Field, share: Field, colour: Field) -> None:
    """Lay a colour over the canvas where the share (H, W), 0 to 1, says."""
    for plane, level in zip(canvas, colour, strict=True):  # plane by plane stays in the processor's cache
        plane += share * (level - plane)


def _lines(side_px: int, rng: np.random.Generator) -> Field:
    """Scribble thin open curves, straight ones among them."""
    canvas = Image.new("L", (2 * side_px, 2 * side_px))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(3, MOST_LINES)):
        bend = rng.choice((0.0, 0.08, 0.25))
        heading = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, bend, 14) + rng.uniform(-bend, bend))
        step = np.exp(rng.uniform(math.log(4), math.log(50)))
        path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * step, axis=0)
        path += rng.uniform(0, 2 * side_px, 2)
        strength = int(rng.integers(110, 256))
        pen.line(path.ravel().tolist(), fill=strength, width=int(rng.integers(2, 9)), joint="curve")
    return _halved(canvas)


def _blobs(side_px: int, rng: np.random.Generator) -> Field:
    """Spill long, irregular, round-cornered blobs."""
    canvas = Image.new("L", (2 * side_px, 2 * side_px))
    pen = ImageDraw.Draw(canvas)
    angle = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    for _ in range(rng.integers(1, MOST_BLOBS)):
        radius = 1 + sum(
            rng.uniform(0.15, 0.40) / math.sqrt(wave) * np.cos(wave * angle + rng.uniform(0, 6.3)) for wave in (2, 3, 5)
        )
        turn, length = rng.uniform(0, math.pi), np.exp(rng.uniform(math.log(16), math.log(180)))
        x, y = length * radius * np.cos(angle), length * rng.uniform(0.35, 0.8) * radius * np.sin(angle)
        dots = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], axis=1)
        dots += rng.uniform(0, 2 * side_px, 2)
        pen.polygon(dots.ravel().tolist(), fill=int(rng.integers(90, 256)))
    return _halved(canvas)


def _halved(canvas: Image.Image) -> Field:
    """Shrink a drawing of twice the size, which smooths its edges; 0 to 1."""
    return np.asarray(canvas.reduce(2), np.float32) * np.float32(1 / 255)


def _bands_of_shadow(side_px: int, rng: np.random.Generator) -> Field:
    """Cast soft shadows of things outside the picture; drawn small, since they are blurred anyway."""
    small = side_px // 4
    canvas = Image.new("L", (small, small))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(1, 4)):
        angle, width = rng.uniform(0, math.pi), rng.uniform(0.06, 0.35) * small
        along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
        middle = rng.uniform(0, small, 2)
        corners = [middle + along * small * 2 * i + across * width * j for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        pen.polygon(np.array(corners).ravel().tolist(), fill=255)
    soft = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(1, 5)))
    return np.asarray(soft.resize((side_px, side_px), Image.Resampling.BILINEAR), np.float32) * np.float32(1 / 255)
