"""A picture that the project draws itself, for a first look and for tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from layerscope.inputs.frame import Frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Levels = NDArray[np.float32]

__all__ = ["sample_frame"]

HEIGHT, WIDTH = 480, 640
HORIZON = 340
OVERSAMPLING = 2

Points: TypeAlias = list[tuple[float, float]]


def sample_frame() -> Frame:
    """Draw a scene of plain shapes, colours and textures, always the same.

    It has what early layers answer to: edges of every direction, stripes, checks, solid colours, a gradient
    and soft shadows.

    Returns:
        A (480, 640, 3) frame called ``sample``.

    >>> sample_frame().size_hw
    (480, 640)
    """
    y, x = np.mgrid[: HEIGHT * OVERSAMPLING, : WIDTH * OVERSAMPLING].astype(np.float32) / OVERSAMPLING
    canvas = Image.fromarray(_bytes(_room(x, y)))
    red, blue, white, green = (206, 58, 48), (34, 92, 170), (238, 238, 232), (52, 140, 84)
    stripes, slanting = x % 28 < 14, (x + y) % 26 < 13
    checks = (x // 18 + y // 18) % 2 == 0
    _put(canvas, _paint(y, red), _polygon(120, 130, 74, 90))
    _put(canvas, np.where(stripes[..., None], _paint(y, blue), _paint(y, white)), _polygon(310, 135, 90, 4, 12))
    _put(canvas, np.where(checks[..., None], _paint(y, (36, 36, 40)), _paint(y, white)), _polygon(510, 135, 96, 4))
    _put(
        canvas, np.where(slanting[..., None], _paint(y, (240, 190, 40)), _paint(y, red)), _polygon(140, 360, 98, 3, -90)
    )
    _put(canvas, _paint(y, green), _polygon(330, 350, 84, 90), hole=_polygon(330, 350, 46, 90))
    _put(canvas, _paint(y, (245, 206, 66)), _star(520, 352, 96, 42))
    small = canvas.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return Frame(name="sample", pixels=np.array(small))


def _room(x: Levels, y: Levels) -> Levels:
    """Paint a wall that grows darker downwards over a floor of slanting boards, (H, W, 3)."""
    wall = np.stack([206 - 0.12 * y, 214 - 0.10 * y, 222 - 0.06 * y], axis=2)
    across = x + 0.6 * (y - HORIZON)
    board = np.where(across % 64 < 3, 0.72, 1 - 0.04 * (across // 64 % 3))
    floor = board[..., None] * np.array([186, 150, 112], np.float32)
    return np.where((y < HORIZON)[..., None], wall, floor)


def _paint(y: Levels, colour: tuple[int, int, int]) -> Levels:
    """Fill with one colour, a little darker towards the bottom, (H, W, 3)."""
    levels: Levels = (1.1 - 0.0006 * y)[..., None] * np.array(colour, np.float32)
    return levels


def _put(canvas: Image.Image, texture: Levels, outline: Points, hole: Points | None = None) -> None:
    """Set a shape into the scene, with its shadow to the lower right."""
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    draw.polygon(outline, fill=255)
    if hole is not None:
        draw.polygon(hole, fill=0)
    for distance in range(2, 14, 2):
        shadow = Image.new("L", canvas.size)
        shadow.paste(mask.point(lambda level: level // 16), (distance * OVERSAMPLING, distance * OVERSAMPLING))
        canvas.paste((30, 28, 30), mask=shadow)
    canvas.paste(Image.fromarray(_bytes(texture)), mask=mask)


def _polygon(x: float, y: float, radius: float, corners: int, turn_deg: float = 0.0) -> Points:
    """Place corners on a circle, pixels of the finished picture; many of them make a disc."""
    return _around(x, y, [radius] * corners, turn_deg)


def _star(x: float, y: float, outer: float, inner: float) -> Points:
    return _around(x, y, [outer, inner] * 5, -90.0)


def _around(x: float, y: float, radii: list[float], turn_deg: float) -> Points:
    angles = [math.radians(turn_deg + 360 * index / len(radii)) for index in range(len(radii))]
    return [
        ((x + radius * math.cos(angle)) * OVERSAMPLING, (y + radius * math.sin(angle)) * OVERSAMPLING)
        for radius, angle in zip(radii, angles, strict=True)
    ]


def _bytes(levels: Levels) -> NDArray[np.uint8]:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
