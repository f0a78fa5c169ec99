"""Boxes drawn on their picture."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layerscope.detection.boxes import Box
    from layerscope.inputs import Frame

__all__ = ["draw_boxes"]

GOLDEN_RATIO = 0.618034


def draw_boxes(frame: Frame, boxes: Iterable[Box]) -> Image.Image:
    """Draw boxes with their labels and scores, the best on top.

    Lines and letters grow with the picture; each class keeps its colour from picture to picture.

    Args:
        frame: The picture.
        boxes: Best first, as ``detect`` gives them.

    Returns:
        RGB image of the frame's size.
    """
    image = Image.fromarray(frame.pixels)
    draw = ImageDraw.Draw(image)
    shorter = min(image.size)
    line_px = max(2, round(shorter / 200))
    font = ImageFont.load_default(max(11, round(shorter / 32)))
    taken: list[tuple[float, float, float, float]] = []
    for box in reversed(list(boxes)):
        colour = class_colour(box.class_id)
        left, top, right, bottom = _clipped(box.xyxy, image.size)
        draw.rectangle((left, top, right, bottom), outline=colour, width=line_px)
        _label(draw, f"{box.label} {box.score:.2f}", (left, top, bottom), colour, font, line_px, taken)
    return image


def class_colour(class_id: int) -> tuple[int, int, int]:
    """Give a class its colour: neighbours in number are far apart in hue."""
    hue = (0.1 + class_id * GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _clipped(xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> tuple[float, ...]:
    """Bring the corners onto the picture, the far ones not before the near ones."""
    left, top = (min(max(0.0, xyxy[axis]), size_wh[axis] - 1) for axis in (0, 1))
    right, bottom = (min(max(near, xyxy[axis + 2]), size_wh[axis] - 1) for axis, near in ((0, left), (1, top)))
    return left, top, right, bottom


def _label(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[float, float, float],
    colour: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line_px: int,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write a label above its box; inside where there is no room, and clear of those already written."""
    left, top, bottom = at
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    width, height = x1 - x0 + 2 * line_px, y1 - y0 + 2 * line_px
    left = max(0.0, min(left, draw.im.size[0] - width))
    place = (left, top, left + width, top + height)
    for above in (top - height, top, bottom - height, bottom):
        candidate = (left, above, left + width, above + height)
        free = not any(_overlap(candidate, other) for other in taken)
        if above >= 0 and above + height <= draw.im.size[1] and free:
            place = candidate
            break
    taken.append(place)
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
    draw.rectangle(place, fill=colour)
    origin = (place[0] + line_px - x0, place[1] + line_px - y0)
    draw.text(origin, text, fill=(255, 255, 255) if dark else (0, 0, 0), font=font)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
