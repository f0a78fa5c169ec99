"""Words as bitmaps, in the font that comes with Pillow."""

from __future__ import annotations

import math
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["clip_text", "line_height", "stamp", "text_mask", "text_width", "wrap_text"]


@lru_cache(maxsize=16)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow gives this kind whenever asked for a size
    return font


def line_height(size_px: int) -> int:
    """Give the height of a line of text, pixels."""
    ascent, descent = _font(size_px).getmetrics()
    return ascent + descent


@lru_cache(maxsize=8192)
def _word_mask(word: str, size_px: int) -> NDArray[np.uint8]:
    """Draw a word with the room of a space on both sides, into which some letters reach; read-only."""
    font = _font(size_px)
    space, width = math.ceil(font.getlength(" ")), math.ceil(font.getlength(word))
    picture = Image.new("L", (width + 2 * space, line_height(size_px)))
    ImageDraw.Draw(picture).text((space, 0), word, fill=255, font=font)
    mask = np.array(picture)
    mask.flags.writeable = False
    return mask


def text_mask(text: str, size_px: int) -> NDArray[np.uint8]:
    """Draw one line of text.

    It is put together of its words: most of them recur from one picture to the next, where the line as a whole
    does not.

    Args:
        text: Any characters; those that do not print become spaces, those that the font lacks
            its empty box.
        size_px: Size of the font.

    Returns:
        (line height, width) uint8 coverage, 0 to 255, not to be written to; 0 wide for no text.
    """
    words = [_word_mask(word, size_px) for word in _printable(text).split(" ")]
    space = _word_mask("", size_px).shape[1] // 2
    if len(words) == 1:
        return words[0][:, space : words[0].shape[1] - space]
    line = np.zeros((line_height(size_px), text_width(text, size_px) + 2 * space), np.uint8)
    x = 0
    for word in words:
        place = line[:, x : x + word.shape[1]]
        np.maximum(place, word, out=place)
        x += word.shape[1] - space
    return line[:, space : line.shape[1] - space]


def text_width(text: str, size_px: int) -> int:
    """Measure one line of text, pixels."""
    space = _word_mask("", size_px).shape[1] // 2
    width: int = sum(_word_mask(word, size_px).shape[1] - space for word in _printable(text).split(" ")) - space
    return width


def clip_text(text: str, size_px: int, width_px: int, ending: str = "...") -> str:
    """Shorten a line until it fits, with an ending that says so.

    >>> clip_text("backbone.block3", 12, 60)
    'backbo...'
    >>> clip_text("17", 12, 60)
    '17'
    """
    if text_width(text, size_px) <= width_px:
        return text
    font = _font(size_px)
    for end in range(min(len(text), width_px), 0, -1):
        shorter = text[:end].rstrip(" .") + ending
        if font.getlength(_printable(shorter)) <= width_px:
            return shorter
    return ""


def wrap_text(text: str, size_px: int, width_px: int) -> list[str]:
    """Break a line into as many as fit a width: after spaces and punctuation, or where it must.

    >>> wrap_text("backbone.block3.residual0", 12, 100)
    ['backbone.block3.', 'residual0']
    """
    lines, rest = [], _printable(text)
    font = _font(size_px)
    while text_width(rest, size_px) > width_px:
        fits = bisect_right(range(1, len(rest)), width_px, key=lambda end: math.ceil(font.getlength(rest[:end])))
        end = max(1, fits)
        breaks = [place for place in range(1, end + 1) if rest[place - 1] in " .,:;/_-"]
        # A break that leaves most of the line empty reads worse than a cut word.
        end = breaks[-1] if breaks and breaks[-1] > end // 3 else end
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, rest] if rest or not lines else lines


def stamp(canvas: NDArray[np.uint8], mask: NDArray[np.uint8], y: int, x: int, level: int, paper: int = 255) -> None:
    """Write a text's coverage on an even part of a canvas, in place, clipped at its border.

    Args:
        canvas: (H, W) or (H, W, 3) uint8; changed.
        mask: (h, w) uint8 coverage.
        y: Row of the mask's upper edge, at least 0.
        x: Column of its left edge, at least 0.
        level: The grey to write in, 0 to 255.
        paper: The grey that is there.
    """
    target = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
    levels = blend_levels(level, paper)[mask[: target.shape[0], : target.shape[1]]]
    target[...] = levels[:, :, None] if target.ndim == 3 else levels


@lru_cache(maxsize=16)
def blend_levels(level: int, paper: int = 255) -> NDArray[np.uint8]:
    """Give the grey that each coverage leaves of a paper written on: (256,) uint8."""
    return (paper + ((level - paper) * np.arange(256) + 127) // 255).astype(np.uint8)


def _printable(text: str) -> str:
    """Replace what cannot be drawn: line breaks and other controls, halves of surrogate pairs."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else " " for character in text)
