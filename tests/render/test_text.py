"""Words as bitmaps: one line each, whatever they hold, and within their width."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from layerscope.render.text import clip_text, line_height, stamp, text_mask, text_width, wrap_text


def drawn_at_once(text, size_px):
    """A line as Pillow draws it, not word by word."""
    font = ImageFont.load_default(size_px)
    picture = Image.new("L", (math.ceil(font.getlength(text)), sum(font.getmetrics())))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture)


@given(
    text=st.text(st.sampled_from("0123456789 .,;:-+x4/jfWÅé層 🦙"), min_size=1, max_size=40),
    size_px=st.integers(11, 40),
)
@settings(max_examples=200, deadline=None)
def test_a_line_of_words_is_what_pillow_draws_at_once(text, size_px):
    np.testing.assert_array_equal(text_mask(text, size_px), drawn_at_once(text, size_px))
    assert text_width(text, size_px) == math.ceil(ImageFont.load_default(size_px).getlength(text))


def test_letters_that_reach_into_a_space_are_whole():
    for size_px in range(11, 41):
        np.testing.assert_array_equal(text_mask("4 j/ \\ 4", size_px), drawn_at_once("4 j/ \\ 4", size_px))


def test_no_text_is_no_width():
    assert text_mask("", 12).shape == (line_height(12), 0)
    assert text_width("", 12) == 0


def test_line_breaks_and_controls_are_drawn_as_spaces():
    np.testing.assert_array_equal(text_mask("a\nb\tc\ud800d", 12), text_mask("a b c d", 12))


def test_digits_differ_and_fill_one_line():
    masks = [text_mask(digit, 11) for digit in "0123456789"]
    assert len({mask.tobytes() for mask in masks}) == 10
    assert {mask.shape[0] for mask in masks} == {line_height(11)}


def test_digits_are_all_of_one_width_so_that_the_last_number_is_as_wide_as_any():
    for size_px in range(11, 41):
        assert len({text_width(digit, size_px) for digit in "0123456789"}) == 1


@pytest.mark.parametrize("text", ["backbone.block3.residual0.add", "x" * 90, "a b " * 40])
@pytest.mark.parametrize("width", [20, 64, 300])
def test_wrapped_and_clipped_lines_fit_and_wrapping_keeps_every_letter(text, width):
    lines = wrap_text(text, 12, width)
    assert all(text_width(line, 12) <= width + 1 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert text_width(clip_text(text, 12, width), 12) <= width + 1


def test_a_stamp_is_cut_at_the_border_and_blends_by_its_cover():
    canvas = np.full((3, 3), 255, np.uint8)
    stamp(canvas, np.array([[255, 128, 0], [255, 255, 255]], np.uint8), 2, 1, 55)
    assert canvas.tolist() == [[255, 255, 255], [255, 255, 255], [255, 55, 155]]


def test_a_stamp_blends_with_the_paper_that_it_is_told_of():
    canvas = np.full((1, 3, 3), 70, np.uint8)
    stamp(canvas, np.array([[0, 102, 255]], np.uint8), 0, 0, 255, paper=70)
    assert canvas.tolist() == [[[70] * 3, [144] * 3, [255] * 3]]
