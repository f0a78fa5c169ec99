"""Overlays lie on the pixels that their cells cover, however the frame was placed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, OptionError
from layerscope.inputs.frame import Placement
from layerscope.render import apply_colormap, draw_overlay


def place(how, frame_hw, input_hw):
    """Where a frame lies under stretch, letterbox or crop."""
    fits = [input_hw[0] / frame_hw[0], input_hw[1] / frame_hw[1]]
    if how == "stretch":
        scale_y, scale_x = fits
    else:
        scale_y = scale_x = min(fits) if how == "letterbox" else max(fits)
    offset = ((input_hw[1] - frame_hw[1] * scale_x) / 2, (input_hw[0] - frame_hw[0] * scale_y) / 2)
    return Placement(frame_hw=frame_hw, input_hw=input_hw, scale_xy=(scale_x, scale_y), offset_xy=offset)


def slow_overlay(unit, placement, interpolation):
    """Each frame pixel by itself: its map value, NaN outside the input."""
    height, width = placement.frame_hw
    result = np.full((height, width), np.nan)
    for y, x in np.ndindex(height, width):
        at_x, at_y = placement.to_input(np.array([x + 0.5, y + 0.5]))
        if not (0 <= at_x < placement.input_hw[1] and 0 <= at_y < placement.input_hw[0]):
            continue
        v = at_y * (unit.shape[0] / placement.input_hw[0])
        u = at_x * (unit.shape[1] / placement.input_hw[1])
        if interpolation == "nearest":
            result[y, x] = unit[min(int(v), unit.shape[0] - 1), min(int(u), unit.shape[1] - 1)]
        else:
            v, u = np.clip(v - 0.5, 0, unit.shape[0] - 1), np.clip(u - 0.5, 0, unit.shape[1] - 1)
            top, left = int(v), int(u)
            low, right = min(top + 1, unit.shape[0] - 1), min(left + 1, unit.shape[1] - 1)
            upper = unit[top, left] * (1 - (u - left)) + unit[top, right] * (u - left)
            lower = unit[low, left] * (1 - (u - left)) + unit[low, right] * (u - left)
            result[y, x] = upper * (1 - (v - top)) + lower * (v - top)
    return result


sides = st.integers(1, 24)
sizes = st.tuples(sides, sides)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("how", ["stretch", "letterbox", "crop"])
@given(frame_hw=sizes, input_hw=sizes, map_hw=sizes, seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_an_overlay_equals_its_plain_loop(how, interpolation, frame_hw, input_hw, map_hw, seed):
    placement = place(how, frame_hw, input_hw)
    unit = np.random.default_rng(seed).random(map_hw)
    frame = np.full((*frame_hw, 3), 7, np.uint8)
    expected = slow_overlay(unit, placement, interpolation)
    got = np.asarray(draw_overlay(unit, frame, placement, colormap="grey", alpha=1, interpolation=interpolation))
    seen = ~np.isnan(expected)
    assert (got[~seen] == 7).all()
    np.testing.assert_allclose(got[seen][:, 0], expected[seen] * 255, atol=0.51)


@pytest.mark.parametrize("how", ["stretch", "letterbox", "crop"])
@given(data=st.data(), frame_hw=sizes, map_hw=st.tuples(st.integers(1, 6), st.integers(1, 6)))
@settings(max_examples=60, deadline=None)
def test_a_hot_cell_colours_exactly_the_pixels_whose_centres_fall_in_it(how, data, frame_hw, map_hw):
    # Whole strides, as networks have, so that each cell's border is an exact number.
    input_hw = (map_hw[0] * 8, map_hw[1] * 8)
    placement = place(how, frame_hw, input_hw)
    hot = data.draw(st.integers(0, map_hw[0] - 1)), data.draw(st.integers(0, map_hw[1] - 1))
    unit = np.zeros(map_hw)
    unit[hot] = 1
    frame = np.zeros((*frame_hw, 3), np.uint8)
    got = np.asarray(draw_overlay(unit, frame, placement, colormap="grey", alpha=1, interpolation="nearest"))
    y, x = np.mgrid[0 : frame_hw[0], 0 : frame_hw[1]]
    at = placement.to_input(np.stack([x + 0.5, y + 0.5], -1))
    inside = (at >= np.array(hot[::-1]) * 8) & (at < (np.array(hot[::-1]) + 1) * 8)
    np.testing.assert_array_equal(got[..., 0] == 255, inside.all(-1))


@pytest.mark.parametrize("how", ["stretch", "letterbox", "crop"])
def test_an_overlay_lies_on_the_bright_spot(how):
    frame = np.zeros((90, 160, 3), np.uint8)
    frame[40:50, 70:80] = 255
    placement = place(how, (90, 160), (64, 64))
    # What a network that only averages would give: 8 x 8 cells of the frame as it lies in the input.
    y, x = np.mgrid[0:64, 0:64]
    at = placement.to_frame(np.stack([x + 0.5, y + 0.5], -1))
    seen = ((at >= 0) & (at < (160, 90))).all(-1)
    column, row = np.clip(at.astype(int), 0, (159, 89)).transpose(2, 0, 1)
    unit = np.where(seen, frame[row, column, 0] / 255, 0).reshape(8, 8, 8, 8).mean((1, 3))
    for interpolation in ("nearest", "bilinear"):
        got = np.asarray(
            draw_overlay(unit / unit.max(), np.zeros_like(frame), placement, colormap="grey", alpha=1,
                         interpolation=interpolation)
        )[..., 0].astype(float)  # fmt: skip
        centre = [(got.sum(axis) * (np.arange(got.shape[1 - axis]) + 0.5)).sum() / got.sum() for axis in (0, 1)]
        # Within half a cell of the spot's own centre.
        reach = 4 / placement.scale_xy[0], 4 / placement.scale_xy[1]
        assert abs(centre[0] - 75) <= reach[0]
        assert abs(centre[1] - 45) <= reach[1]


def test_alpha_blends_and_zero_leaves_the_frame():
    frame = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    unit = np.random.default_rng(1).random((3, 3))
    placement = place("stretch", (12, 10), (6, 6))
    draw = {"colormap": "viridis", "interpolation": "nearest"}
    np.testing.assert_array_equal(np.asarray(draw_overlay(unit, frame, placement, alpha=0, **draw)), frame)
    whole = np.asarray(draw_overlay(unit, frame, placement, alpha=1, **draw)).astype(float)
    for alpha in (0.25, 0.5, 0.8):
        got = np.asarray(draw_overlay(unit, frame, placement, alpha=alpha, **draw))
        step = round(alpha * 255) / 255
        np.testing.assert_allclose(got, frame * (1 - step) + whole * step, atol=1)


def test_weighing_leaves_the_frame_where_the_value_is_nothing():
    frame = np.full((4, 4, 3), 90, np.uint8)
    unit = np.array([[0.0, 1.0]])
    got = np.asarray(
        draw_overlay(unit, frame, place("stretch", (4, 4), (4, 4)), alpha=1, interpolation="nearest",
                     weigh_alpha=True)
    )  # fmt: skip
    assert (got[:, :2] == 90).all()
    assert (got[:, 2:] == apply_colormap(np.array(255, np.uint8), "inferno")).all()


def test_bytes_and_floats_give_the_same_overlay():
    values = np.random.default_rng(0).integers(0, 256, (5, 6), np.uint8)
    frame, placement = np.zeros((30, 20, 3), np.uint8), place("crop", (30, 20), (10, 12))
    for interpolation in ("nearest", "bilinear"):
        one = draw_overlay(values, frame, placement, interpolation=interpolation)
        two = draw_overlay(values / 255, frame, placement, interpolation=interpolation)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


def test_values_that_are_no_numbers_are_drawn_as_the_scales_draw_them():
    values = np.array([[np.nan, np.inf, -np.inf, 2.0]])
    frame = np.zeros((1, 4, 3), np.uint8)
    got = draw_overlay(values, frame, place("stretch", (1, 4), (1, 4)), colormap="grey", alpha=1,
                       interpolation="nearest")  # fmt: skip
    assert np.asarray(got)[0, :, 0].tolist() == [0, 255, 0, 255]


def test_a_frame_that_the_network_never_saw_stays_as_it_is():
    frame = np.full((5, 5, 3), 9, np.uint8)
    aside = Placement(frame_hw=(5, 5), input_hw=(5, 5), scale_xy=(1, 1), offset_xy=(50, 0))
    assert (np.asarray(draw_overlay(np.ones((2, 2)), frame, aside)) == 9).all()


def test_drawing_leaves_the_frame_as_it_was():
    frame = np.zeros((8, 8, 3), np.uint8)
    draw_overlay(np.ones((2, 2)), frame, place("stretch", (8, 8), (8, 8)))
    assert not frame.any()


def test_what_cannot_be_laid_over_is_refused():
    frame, placement = np.zeros((8, 8, 3), np.uint8), place("stretch", (8, 8), (8, 8))
    for values, pixels in [
        (np.ones((1, 2, 2)), frame),
        (np.ones((0, 2)), frame),
        (np.ones((2, 2)), frame[..., 0]),
        (np.ones((2, 2)), frame.astype(float)),
        (np.ones((2, 2)), frame[:4]),
    ]:
        with pytest.raises(InputError):
            draw_overlay(values, pixels, placement)
    for wrong in (
        {"alpha": 1.5},
        {"alpha": float("nan")},
        {"interpolation": "cubic"},
        {"colormap": "virdis"},
    ):
        with pytest.raises(OptionError):
            draw_overlay(np.ones((2, 2)), frame, placement, **wrong)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("how", ["stretch", "letterbox", "crop"])
def test_a_map_in_colour_is_laid_on_as_its_three_parts_would_be(how, interpolation):
    placement = place(how, (21, 34), (16, 24))
    colours = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    frame = np.full((21, 34, 3), 90, np.uint8)
    options = {"alpha": 0.6, "interpolation": interpolation}
    got = np.asarray(draw_overlay(colours, frame, placement, colormap="inferno", **options)).astype(int)
    for part in range(3):
        alone = np.asarray(draw_overlay(colours[..., part], frame, placement, colormap="grey", **options))
        assert np.abs(got[..., part] - alone[..., part]).max() <= 1
