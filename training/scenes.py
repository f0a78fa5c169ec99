"""Made-up scenes whose content is known to the pixel: what the demonstration detector is trained and tested on.

One seed is one scene. Seeds from 0 up are for training, seeds from ``FIRST_UNSEEN_SEED`` up are never trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from backgrounds import background
from camera import photograph
from paint import PALETTE_DEG, STRIPE_ANGLES_DEG, TEXTURES, texture, tones
from shapes import CLASSES, Patch, draw_outline, outline

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Mask = NDArray[np.bool_]

__all__ = [
    "CLASSES",
    "FIRST_UNSEEN_SEED",
    "LARGEST_PX",
    "LEAST_VISIBLE",
    "SIDE_PX",
    "SMALLEST_PX",
    "Scene",
    "SceneObject",
    "scene",
]

SIDE_PX = 416
SMALLEST_PX, LARGEST_PX = 20.0, 200.0
LEAST_VISIBLE = 0.6
FIRST_UNSEEN_SEED = 1_000_000
FEWEST_OBJECTS, MOST_OBJECTS = 3, 10
TRIES_PER_OBJECT = 6
LEAST_CONTRAST = 75.0
"""Distance in RGB of an object's main tone to what lies under it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        label: One of ``CLASSES``.
        box: Left, top, right, bottom of the whole shape, hidden parts included, where it is inside the picture;
            pixels, right and bottom exclusive.
        size_px: Longer side of the shape's box, parts outside the picture included.
        colour: Name from ``paint.PALETTE_DEG``.
        texture: Name from ``paint.TEXTURES``.
        stripe_angle_deg: Direction of the stripes, counter-clockwise as seen from the horizontal; None without.
        orientation_deg: How far the shape is turned counter-clockwise from upright.
        visible_share: Share of the shape's pixels that can be seen, 0 to 1.
        side_px: Height and width of the picture.
        shape: (H, W) bool, its pixels inside its box, hidden ones included.
        seen: (H, W) bool, those that can be seen.
    """

    label: str
    box: tuple[int, int, int, int]
    size_px: float
    colour: str
    texture: str
    stripe_angle_deg: float | None
    orientation_deg: float
    visible_share: float
    side_px: int
    shape: Mask = field(repr=False)
    seen: Mask = field(repr=False)

    @property
    def class_id(self) -> int:
        """The number of its class."""
        return CLASSES.index(self.label)

    @property
    def mask(self) -> Mask:
        """(side, side) bool: every pixel of its shape, hidden ones included."""
        return self._on_picture(self.shape)

    @property
    def visible_mask(self) -> Mask:
        """(side, side) bool: the pixels that can be seen."""
        return self._on_picture(self.seen)

    def _on_picture(self, part: Mask) -> Mask:
        whole = np.zeros((self.side_px, self.side_px), bool)
        left, top, right, bottom = self.box
        whole[top:bottom, left:right] = part
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        pixels: (side, side, 3) uint8 RGB.
        objects: The lowest first.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    objects: tuple[SceneObject, ...]


@dataclass(slots=True, kw_only=True)
class Placed:
    """An object that has found its place but is not painted yet.

    Attributes:
        label: Its class.
        size_px: Longer side of its box.
        orientation_deg: How far it is turned.
        left: Column of its cut-out patch in the picture.
        top: Row of it.
        alpha: (H, W) float32 coverage, cut at the picture's edges.
        solid: (H, W) bool, its pixels: those covered by half or more.
        pixels: How many it has, outside the picture included.
        visible: How many of them can be seen.
        lies_on: Numbers of the objects that it covers in part.
    """

    label: str
    size_px: float
    orientation_deg: float
    left: int
    top: int
    alpha: Field
    solid: Mask
    pixels: int
    visible: int
    lies_on: list[int] = field(default_factory=list)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the picture that its patch covers."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def inside(self) -> tuple[slice, slice, slice]:
        """The same of a picture whose colours are planes."""
        return (slice(None), *self.window)


def scene(seed: int, *, side_px: int = SIDE_PX) -> Scene:
    """Make a scene: the same seed and size give the same bytes.

    Args:
        seed: Not negative.
        side_px: Height and width; a smaller scene has fewer objects, not smaller ones.
    """
    rng = np.random.default_rng(seed)
    canvas = background(side_px, rng)
    placed, owner = _arrange(side_px, rng)
    towards_light = rng.uniform(0, 2 * math.pi)
    objects: list[SceneObject] = []
    for index, item in enumerate(placed):
        colours_below = {objects[lower].colour for lower in item.lies_on}
        colour, pattern, stripe_angle = _paint(canvas, item, colours_below, towards_light, rng)
        within = _tight(item.solid)
        objects.append(
            SceneObject(
                label=item.label,
                box=(
                    item.left + within[1].start,
                    item.top + within[0].start,
                    item.left + within[1].stop,
                    item.top + within[0].stop,
                ),
                size_px=item.size_px,
                colour=colour,
                texture=pattern,
                stripe_angle_deg=stripe_angle,
                orientation_deg=item.orientation_deg,
                visible_share=item.visible / item.pixels,
                side_px=side_px,
                shape=item.solid[within],
                seen=(owner[item.window] == index)[within],
            )
        )
    return Scene(pixels=photograph(canvas, rng), objects=tuple(objects))


def _arrange(side_px: int, rng: np.random.Generator) -> tuple[list[Placed], NDArray[np.int8]]:
    """Find places for objects such that enough of each can be seen.

    Returns:
        The objects, the lowest first, and (side, side) which of them each pixel shows, -1 for none.
    """
    area_share = (side_px / SIDE_PX) ** 2
    wanted = max(1, round(float(rng.integers(FEWEST_OBJECTS, MOST_OBJECTS + 1)) * area_share))
    sizes = np.exp(rng.uniform(math.log(SMALLEST_PX), math.log(LARGEST_PX), wanted))
    sizes = sizes[np.argsort(-sizes * rng.uniform(0.6, 1.4, wanted))]  # large ones tend to lie below
    owner = np.full((side_px, side_px), -1, np.int8)
    placed: list[Placed] = []
    for size in sizes:
        label = CLASSES[rng.integers(len(CLASSES))]
        orientation = rng.uniform(0, 360)
        shape = outline(label, rng, orientation)
        for _ in range(TRIES_PER_OBJECT):
            x, y = rng.uniform(0, side_px, 2)
            patch = draw_outline(shape, float(size), (float(x), float(y)))
            item = _cut(patch, side_px, label, float(size), float(orientation))
            if item is None or not _lay(item, placed, owner):
                continue
            placed.append(item)
            break
    return placed, owner


def _cut(patch: Patch, side_px: int, label: str, size_px: float, orientation_deg: float) -> Placed | None:
    """Cut a patch at the picture's edges; None if too much would be lost."""
    solid = patch.alpha >= 0.5
    pixels = int(np.count_nonzero(solid))
    height, width = solid.shape
    rows = slice(max(0, -patch.top), min(height, side_px - patch.top))
    columns = slice(max(0, -patch.left), min(width, side_px - patch.left))
    inside = solid[rows, columns]
    visible = int(np.count_nonzero(inside))
    if visible < LEAST_VISIBLE * pixels:
        return None
    return Placed(
        label=label,
        size_px=size_px,
        orientation_deg=orientation_deg,
        left=patch.left + columns.start,
        top=patch.top + rows.start,
        alpha=patch.alpha[rows, columns],
        solid=inside,
        pixels=pixels,
        visible=visible,
    )


def _lay(item: Placed, placed: list[Placed], owner: NDArray[np.int8]) -> bool:
    """Put an object on top of the others, unless that hides too much of one."""
    below = owner[item.window][item.solid]
    hidden = np.bincount(below.astype(np.int64) + 1, minlength=len(placed) + 1)[1:]
    left_over = [other.visible - int(lost) for other, lost in zip(placed, hidden, strict=True)]
    if any(rest < LEAST_VISIBLE * other.pixels for rest, other in zip(left_over, placed, strict=True)):
        return False
    for other, rest in zip(placed, left_over, strict=True):
        other.visible = rest
    item.lies_on = np.flatnonzero(hidden).tolist()
    owner[item.window][item.solid] = len(placed)
    return True


def _tight(solid: Mask) -> tuple[slice, slice]:
    """Rows and columns that hold all pixels that are set."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _paint(
    canvas: Field, item: Placed, colours_below: set[str], towards_light: float, rng: np.random.Generator
) -> tuple[str, str, float | None]:
    """Paint an object with its shadow, in a colour that stands out from what it lies on.

    Returns:
        Its colour, its texture, and the direction of its stripes if it has any.
    """
    below = canvas[item.inside][:, item.solid].mean(axis=1)
    for name in rng.permutation([name for name in PALETTE_DEG if name not in colours_below] or list(PALETTE_DEG)):
        main, second = tones(str(name), rng)
        if np.linalg.norm(main.ravel() - below) >= LEAST_CONTRAST:
            break
    pattern = TEXTURES[rng.integers(len(TEXTURES))]
    stripe_angle = float(rng.choice(STRIPE_ANGLES_DEG)) if pattern == "stripes" else None
    share = texture(pattern, item.alpha.shape, item.size_px, stripe_angle, rng)
    body = main if share is None else main + share * (second - main)
    if rng.random() < 0.75:
        _cast_shadow(canvas, item, towards_light, rng)
    lit = body * _shading(item.alpha.shape, towards_light, rng.uniform(0.05, 0.3))
    under = canvas[item.inside]
    under += item.alpha * (lit - under)
    return str(name), pattern, stripe_angle


def _shading(hw: tuple[int, ...], towards_light: float, strength: float) -> Field:
    """Make a body brighter towards the light and darker away from it: (H, W) factors about 1."""
    across = np.linspace(-0.5, 0.5, hw[1], dtype=np.float32) * np.float32(math.cos(towards_light) * strength)
    down = np.linspace(-0.5, 0.5, hw[0], dtype=np.float32) * np.float32(math.sin(towards_light) * strength)
    return 1 + across + down[:, None]


def _cast_shadow(canvas: Field, item: Placed, towards_light: float, rng: np.random.Generator) -> None:
    """Darken the ground where an object keeps the light away."""
    lift = float(np.clip(item.size_px * rng.uniform(0.04, 0.12), 2, 12))
    softness = lift * rng.uniform(0.4, 0.9)
    pad = 2 * math.ceil(lift / 2 + softness)
    height, width = (side + side % 2 + 2 * pad for side in item.alpha.shape)
    top, left = pad - round(math.sin(towards_light) * lift), pad - round(math.cos(towards_light) * lift)
    drawn = Image.new("L", (width, height))
    drawn.paste(Image.fromarray((item.alpha * 255).astype(np.uint8)), (left, top))
    blurred = drawn.reduce(2).filter(ImageFilter.GaussianBlur(softness / 2))  # half the size is a quarter of the work
    soft = np.asarray(blurred.resize(drawn.size, Image.Resampling.BILINEAR), np.float32)
    side_px = canvas.shape[1]
    top, left = item.top - pad, item.left - pad
    rows = slice(max(0, top), min(side_px, top + height))
    columns = slice(max(0, left), min(side_px, left + width))
    inside = soft[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    canvas[:, rows, columns] *= 1 - np.float32(rng.uniform(0.25, 0.6) / 255) * inside
