"""Words as bitmaps: one line each, whatever they hold, and within their width."""

import numpy as np
import pytest

from layerscope.render.text import clip_text, line_height, stamp, text_mask, text_width, wrap_text


def test_line_breaks_and_controls_are_drawn_as_spaces():
    np.testing.assert_array_equal(text_mask("a\nb\tc\ud800d", 12), text_mask("a b c d", 12))


def test_digits_differ_and_fill_one_line():
    masks = [text_mask(digit, 11) for digit in "0123456789"]
    assert len({mask.tobytes() for mask in masks}) == 10
    assert {mask.shape[0] for mask in masks} == {line_height(11)}


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
