"""The eight kinds of objects: their outlines, and an outline drawn as an antialiased patch.

An outline is a tuple of parts, drawn one after the other: a solid part adds its inside to the shape, a hole takes
it away. Its coordinates are free of units, x to the right and y downward; only when it is drawn does it get a size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

__all__ = ["CLASSES", "Outline", "Part", "Patch", "draw_outline", "outline"]

SUPERSAMPLING = 4
ROUND_POINTS = 72


@dataclass(frozen=True, slots=True)
class Part:
    """One polygon of an outline.

    Attributes:
        points: (K, 2) x and y.
        solid: Whether it adds to the shape; a hole takes away.
    """

    points: Points
    solid: bool = True


Outline = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """A shape drawn at its place, no larger than it needs to be.

    Attributes:
        left: Column of its first pixel in the picture; may be negative.
        top: Row of its first pixel.
        alpha: (H, W) float32, the share of each pixel that the shape covers, 0 to 1.
    """

    left: int
    top: int
    alpha: NDArray[np.float32]


def _disc(_rng: np.random.Generator) -> Outline:
    return (Part(_arc(1, 0, 360)),)


def _ring(rng: np.random.Generator) -> Outline:
    return (Part(_arc(1, 0, 360)), Part(_arc(rng.uniform(0.52, 0.68), 0, 360), solid=False))


def _square(_rng: np.random.Generator) -> Outline:
    return (Part(np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)])),)


def _triangle(rng: np.random.Generator) -> Outline:
    half_base = rng.uniform(0.85, 1.15)
    return (Part(np.array([(0, -1), (half_base, 0.75), (-half_base, 0.75)])),)


def _star(rng: np.random.Generator) -> Outline:
    inner = rng.uniform(0.40, 0.50)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, inner)
    angle = np.radians(np.arange(10) * 36 - 90)
    return (Part(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)),)


def _cross(rng: np.random.Generator) -> Outline:
    arm = rng.uniform(0.26, 0.36)
    bar = np.array([(-1, -arm), (1, -arm), (1, arm), (-1, arm)])
    return (Part(bar), Part(bar[:, ::-1]))


def _arrow(rng: np.random.Generator) -> Outline:
    shaft, head, wing = rng.uniform(0.20, 0.28), rng.uniform(-0.15, 0.1), rng.uniform(0.62, 0.78)
    upper = [(-1, -shaft), (head, -shaft), (head, -wing), (1, 0)]
    return (Part(np.array(upper + [(x, -y) for x, y in reversed(upper[:-1])])),)


def _hook(rng: np.random.Generator) -> Outline:
    """Draw a J: a straight stem that turns into half a ring, with round ends."""
    half = rng.uniform(0.17, 0.24)  # half the width of the stroke
    radius, top = rng.uniform(0.5, 0.6), rng.uniform(-1.1, -0.8)
    bow = np.concatenate([_arc(radius + half, 0, 180), _arc(radius - half, 180, 0)])
    stem = np.array([(radius - half, 0), (radius - half, top), (radius + half, top), (radius + half, 0)])
    ends = [_arc(half, 0, 360) + np.array(centre) for centre in ((radius, top), (-radius, 0))]
    return tuple(Part(points) for points in (bow, stem, *ends))


def _arc(radius: float, from_deg: float, to_deg: float) -> Points:
    """Points on a circle about the origin; from 0 to 180 is its lower half, from the right."""
    count = max(2, round(ROUND_POINTS * abs(to_deg - from_deg) / 360)) + 1
    angle = np.radians(np.linspace(from_deg, to_deg, count))
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


OUTLINES: dict[str, Callable[[np.random.Generator], Outline]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "arrow": _arrow,
    "hook": _hook,
}
CLASSES = tuple(OUTLINES)
"""The class names, in the order of the detector's outputs."""


def outline(label: str, rng: np.random.Generator, orientation_deg: float = 0.0) -> Outline:
    """Make one object's outline; proportions such as a ring's thickness vary from object to object.

    Args:
        label: One of ``CLASSES``.
        rng: Chooses the proportions.
        orientation_deg: Turned counter-clockwise, as seen, from upright by this much.
    """
    angle = math.radians(orientation_deg)
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    return tuple(Part(part.points @ turn, part.solid) for part in OUTLINES[label](rng))


def draw_outline(shape: Outline, size_px: float, centre_xy: tuple[float, float]) -> Patch:
    """Draw an outline antialiased, as large and at the place that is wanted.

    Args:
        shape: From ``outline``.
        size_px: Longer side of its upright bounding box.
        centre_xy: Where in the picture the middle of that box lies, pixels.

    Returns:
        The patch, which reaches at least a pixel beyond the shape.
    """
    solid = np.concatenate([part.points for part in shape if part.solid])
    low, high = solid.min(axis=0), solid.max(axis=0)
    scale = size_px / (high - low).max()
    centre = np.asarray(centre_xy)
    half = (high - low) * scale / 2
    left, top = np.floor(centre - half).astype(int) - 1
    right, bottom = np.ceil(centre + half).astype(int) + 1
    canvas = Image.new("L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for part in shape:
        placed = (part.points - (low + high) / 2) * scale + centre - (left, top)
        dots = placed * SUPERSAMPLING - 0.5  # Pillow counts from the middles of pixels
        pen.polygon(dots.ravel().tolist(), fill=255 if part.solid else 0)
    alpha = np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) * np.float32(1 / 255)
    return Patch(int(left), int(top), alpha)
