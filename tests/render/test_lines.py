"""Lines: every value at its height, and no gap from one to the next."""

from __future__ import annotations

import numpy as np
import pytest

from layerscope.render.lines import HEIGHT_PX, draw_lines


@pytest.mark.parametrize("length", [1, 2, 7, 128, 300])
def test_each_value_is_drawn_at_its_height_and_the_line_is_closed(length: int) -> None:
    levels = np.random.default_rng(length).integers(0, 256, (3, length)).astype(np.uint8)
    drawn = draw_lines(levels)
    columns = drawn.shape[2] // length
    assert drawn.shape == (3, HEIGHT_PX, columns * length)
    assert drawn.shape[2] >= 128
    assert set(np.unique(drawn)) == {0, 255}
    for c in range(3):
        before = None
        for i in range(length):
            row = HEIGHT_PX - 1 - int(levels[c, i]) * (HEIGHT_PX - 1) // 255
            block = drawn[c, :, i * columns : (i + 1) * columns] == 255
            for k in range(columns):
                expected = {row} if k or before is None else set(range(min(row, before), max(row, before) + 1))
                assert set(np.nonzero(block[:, k])[0]) == expected
            before = row


def test_nothing_is_drawn_of_nothing() -> None:
    assert not draw_lines(np.zeros((2, 0), np.uint8)).any()
