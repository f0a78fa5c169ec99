"""The block above a sheet: what the layer is, and the colour bar that reads its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.render.colour import colormap_table
from layerscope.render.text import line_height, stamp, text_mask, text_width, wrap_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["HeaderPlan", "draw_header", "plan_header"]

_TITLE_LEVEL, _BODY_LEVEL, _FRAME_LEVEL = 20, 90, 150


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderPlan:
    """A header, laid out.

    Attributes:
        lines: Each line's text, font size and grey level.
        bar_hw: Height and width of the colour bar, pixels; None without one.
        bar_y: Row of its upper edge, from the header's own.
        body_px: Font size of the numbers under it.
        size_hw: Height and width of the whole block.
    """

    lines: tuple[tuple[str, int, int], ...]
    bar_hw: tuple[int, int] | None
    bar_y: int
    body_px: int
    size_hw: tuple[int, int]


def plan_header(header: Sequence[str], *, bar: bool, width_px: int) -> HeaderPlan:
    """Lay out a header: the first line as a title, the others below it, smaller.

    Args:
        header: Lines of any text.
        bar: Whether a colour bar follows.
        width_px: Width of the tiles below; fonts grow with it, and longer lines wrap.

    Returns:
        The layout; of size (0, 0) for no lines and no bar.
    """
    title_px = min(max(round(width_px / 50), 17), 40)
    body_px = min(max(round(title_px * 0.7), 12), 26)
    lines = [
        (part, title_px, _TITLE_LEVEL) if index == 0 else (part, body_px, _BODY_LEVEL)
        for index, text in enumerate(header)
        for part in wrap_text(text, title_px if index == 0 else body_px, width_px)
    ]
    height = sum(line_height(size) for _, size, _ in lines)
    width = max((text_width(text, size) for text, size, _ in lines), default=0)
    if not bar:
        return HeaderPlan(lines=tuple(lines), bar_hw=None, bar_y=0, body_px=body_px, size_hw=(height, width))
    bar_hw = (round(body_px * 0.9), min(width_px, body_px * 20))
    bar_y = height + (body_px // 2 if lines else 1)
    bottom = bar_y + bar_hw[0] + body_px // 4 + line_height(body_px)
    return HeaderPlan(
        lines=tuple(lines),
        bar_hw=bar_hw,
        bar_y=bar_y,
        body_px=body_px,
        size_hw=(bottom, max(width, bar_hw[1])),
    )


def draw_header(
    canvas: NDArray[np.uint8],
    plan: HeaderPlan,
    yx: tuple[int, int],
    *,
    colormap: str,
    value_range: tuple[float, float] | None,
) -> None:
    """Draw a header on a canvas, in place.

    Args:
        canvas: (H, W) or (H, W, 3) uint8; changed.
        plan: Its layout.
        yx: Its upper left corner.
        colormap: The colours of the bar.
        value_range: The values at the bar's ends.
    """
    y, x = yx
    for text, size, level in plan.lines:
        stamp(canvas, text_mask(text, size), y, x, level)
        y += line_height(size)
    if plan.bar_hw is None or value_range is None:
        return
    height, width = plan.bar_hw
    top = yx[0] + plan.bar_y
    ramp = colormap_table(colormap)[np.arange(width) * 256 // width]
    # The frame lies outside the ramp, so that a pale end is still seen to end.
    canvas[top - 1 : top + height + 1, x - 1 : x + width + 1] = _FRAME_LEVEL
    canvas[top : top + height, x : x + width] = ramp if canvas.ndim == 3 else ramp[:, 0]
    below = top + height + plan.body_px // 4
    for text, left in _bar_numbers(value_range, width, plan.body_px):
        stamp(canvas, text_mask(text, plan.body_px), below, x + left, _BODY_LEVEL)


def _bar_numbers(value_range: tuple[float, float], width_px: int, size_px: int) -> list[tuple[str, int]]:
    """Place the numbers under a bar: its ends, and zero where it lies clear of both."""
    low, high = value_range
    first, last = f"{low:.4g}", f"{high:.4g}"
    right = width_px - text_width(last, size_px)
    numbers = [(first, 0), (last, max(right, text_width(first, size_px) + size_px))]
    if low < 0 < high:
        zero = text_width("0", size_px)
        centre = round(low / (low - high) * width_px - zero / 2)
        if text_width(first, size_px) + size_px <= centre <= right - zero - size_px:
            numbers.append(("0", centre))
    return numbers
