"""Boxes drawn on their picture."""

from __future__ import annotations

import colorsys
import math
from typing import TYPE_CHECKING, TypeAlias

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from layerscope.detection.boxes import Box
    from layerscope.inputs import Frame

__all__ = ["draw_boxes"]

GOLDEN_RATIO = 0.618034

Area: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_boxes(frame: Frame, boxes: Iterable[Box]) -> Image.Image:
    """Draw boxes with their labels and scores, the best on top and all labels above all boxes.

    A box's outline lies on the outermost pixels that it touches; where it reaches out of the picture, on the
    picture's edge. Lines and letters grow with the picture; each class keeps its colour from picture to
    picture. A label for which the picture is too small goes without its score, or is left out.

    Args:
        frame: The picture.
        boxes: Best first, as ``detect`` gives them.

    Returns:
        RGB image of the frame's size.
    """
    boxes = list(boxes)
    image = Image.fromarray(frame.pixels)
    draw = ImageDraw.Draw(image)
    shorter = min(image.size)
    line_px = max(2, round(shorter / 200))
    font = ImageFont.load_default(max(11, round(shorter / 32)))
    outlines = [_touched(box.xyxy, image.size) for box in boxes]
    for box, outline in zip(reversed(boxes), reversed(outlines), strict=True):
        thinner = min(outline[2] - outline[0], outline[3] - outline[1]) + 1
        draw.rectangle(outline, outline=class_colour(box.class_id), width=min(line_px, (thinner + 1) // 2))
    labels: dict[int, tuple[str, Area]] = {}  # the best has the first choice of places, and is written last
    for index, box in enumerate(boxes):
        for text in (f"{box.label} {box.score:.2f}", box.label):
            size_wh = _size(draw, text, font, line_px)
            place = _free_place(size_wh, outlines[index], image.size, [area for _, area in labels.values()])
            if place is not None:
                labels[index] = text, place
                break
    for index in reversed(labels):
        text, place = labels[index]
        _write(draw, text, place, class_colour(boxes[index].class_id), font, line_px)
    return image


def class_colour(class_id: int) -> tuple[int, int, int]:
    """Give a class its colour: neighbours in number are far apart in hue."""
    hue = (0.1 + class_id * GOLDEN_RATIO) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _touched(xyxy: tuple[float, float, float, float], size_wh: tuple[int, int]) -> Area:
    """Find the first and last column and row of the picture that a box touches, or else is nearest to."""
    first = [min(max(0, math.floor(xyxy[axis])), size_wh[axis] - 1) for axis in (0, 1)]
    last = [min(max(first[axis], math.ceil(xyxy[axis + 2]) - 1), size_wh[axis] - 1) for axis in (0, 1)]
    return first[0], first[1], last[0], last[1]


def _size(draw: ImageDraw.ImageDraw, text: str, font: Font, line_px: int) -> tuple[int, int]:
    """Measure a label: its letters and a line's width around them."""
    x0, y0, x1, y1 = draw.textbbox((0, 0), text, font=font)
    return math.ceil(x1 - x0) + 2 * line_px, math.ceil(y1 - y0) + 2 * line_px


def _free_place(
    label_wh: tuple[int, int], outline: Area, picture_wh: tuple[int, int], taken: Sequence[Area]
) -> Area | None:
    """Find a label's place: above its box, else inside or below, clear of other labels if that is possible.

    Returns:
        None where the picture is too small for it.
    """
    width, height = label_wh
    most_left, lowest = picture_wh[0] - width, picture_wh[1] - height
    if most_left < 0 or lowest < 0:
        return None
    left, top, bottom = min(outline[0], most_left), outline[1], outline[3] + 1
    rows = (row for row in (top - height, top, bottom - height, bottom) if 0 <= row <= lowest)
    places = [(left, row, left + width, row + height) for row in rows]
    places.append((left, min(top, lowest), left + width, min(top, lowest) + height))
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[-1])


def _write(
    draw: ImageDraw.ImageDraw, text: str, place: Area, colour: tuple[int, int, int], font: Font, line_px: int
) -> None:
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
    draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=colour)
    x0, y0, _, _ = draw.textbbox((0, 0), text, font=font)
    origin = (place[0] + line_px - x0, place[1] + line_px - y0)
    draw.text(origin, text, fill=(255, 255, 255) if dark else (0, 0, 0), font=font)


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
