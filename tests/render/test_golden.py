"""Small pictures that are looked at once and then held, as decoded pixels.

They hold no text: the shapes of letters belong to the font renderer. After a change that is meant,
run once with ``LAYERSCOPE_UPDATE_GOLDENS=1`` and look at what changed.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layerscope.inputs.frame import Placement
from layerscope.render import draw_overlay, draw_sheet

FOLDER = Path(__file__).parent / "golden"


def ramp_tiles():
    y, x = np.mgrid[0:6, 0:8]
    return np.stack([(x * 36 + y * 5 * n).clip(0, 255) for n in range(5)]).astype(np.uint8)


def overlay(**options):
    y, x = np.mgrid[0:36, 0:48]
    frame = np.stack([x * 5, y * 7, (x + y) % 8 * 30], -1).astype(np.uint8)
    unit = np.zeros((4, 4))
    unit[1, 2], unit[2, 1] = 1, 0.5
    crop = Placement(frame_hw=(36, 48), input_hw=(32, 32), scale_xy=(8 / 9, 8 / 9), offset_xy=(-16 / 3, 0))
    return draw_overlay(unit, frame, crop, **options)


DRAWINGS = {
    "sheet_grey": lambda: draw_sheet(ramp_tiles(), labels=[""] * 5, tile_px=16, gap_px=4),
    "sheet_colour": lambda: draw_sheet(ramp_tiles(), labels=[""] * 5, tile_px=16, gap_px=4, colormap="RdBu_r"),
    "sheet_reduced": lambda: draw_sheet(
        ramp_tiles(), labels=[""] * 5, tile_px=5, gap_px=0, columns=5, colormap="viridis"
    ),
    "overlay_nearest": lambda: overlay(interpolation="nearest"),
    "overlay_bilinear": lambda: overlay(alpha=0.7, weigh_alpha=True),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_equals_its_golden_picture(name, tmp_path):
    actual, path = DRAWINGS[name](), FOLDER / f"{name}.png"
    if os.environ.get("LAYERSCOPE_UPDATE_GOLDENS"):
        actual.save(path)
    expected = Image.open(path)
    assert max(expected.size) <= 64
    assert (actual.mode, actual.size) == (expected.mode, expected.size)
    difference = np.abs(np.asarray(actual).astype(int) - np.asarray(expected)).astype(np.uint8)
    if difference.max() > 1:
        actual.save(tmp_path / "actual.png")
        expected.save(tmp_path / "expected.png")
        Image.fromarray(np.minimum(difference * 8, 255).astype(np.uint8)).save(tmp_path / "difference.png")
        pytest.fail(f"{name} differs by up to {difference.max()} levels; see {tmp_path}")


def test_no_golden_picture_is_orphaned():
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.png" for name in DRAWINGS}
