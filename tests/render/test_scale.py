"""Scales against slow loops, as properties, and on data that is out of the ordinary."""

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerscope.errors import InputError, OptionError
from layerscope.render import SCALES, channel_statistics, to_bytes, to_unit

NAN, INF = float("nan"), float("inf")
FLOAT_MAX = float(torch.finfo(torch.float32).max)

maps = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)
plain_maps = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5),
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


def slow_ends(values, rule):
    """Ends of each channel's range, in float64, of finite data."""
    flat = values.astype(np.float64)
    if rule == "channel":
        return [(channel.min(), channel.max()) for channel in flat]
    if rule == "layer":
        ends = (flat.min(), flat.max())
    elif rule == "percentile":
        ends = tuple(np.percentile(flat, [1, 99]))
        ends = ends if np.float32(ends[0]) < np.float32(ends[1]) else (flat.min(), flat.max())
    elif rule == "symmetric":
        ends = (-np.abs(flat).max(), np.abs(flat).max())
    else:
        ends = (0.0, 1.0)
    return [ends] * len(flat)


def slow_unit(values, rule):
    """Every cell by itself."""
    result = np.zeros(values.shape)
    for channel, (low, high) in enumerate(slow_ends(values, rule)):
        for cell in np.ndindex(values.shape[1:]):
            value = float(values[(channel, *cell)])
            if high > low:
                result[(channel, *cell)] = min(max((value - low) / (high - low), 0), 1)
            else:
                result[(channel, *cell)] = 0 if value == 0 and rule != "symmetric" else 0.5
    return result


@pytest.mark.parametrize("rule", SCALES)
@given(values=plain_maps)
@settings(max_examples=60, deadline=None)
def test_every_rule_equals_its_plain_loop(rule, values):
    unit = to_unit(torch.from_numpy(values), rule).numpy()
    np.testing.assert_allclose(unit, slow_unit(values, rule), atol=2e-4)
    scaled = to_bytes(torch.from_numpy(values), rule)
    np.testing.assert_allclose(np.stack([scaled.low, scaled.high], 1), slow_ends(values, rule), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", SCALES)
@given(values=maps)
@settings(max_examples=100, deadline=None)
def test_any_data_stays_within_its_bounds_and_keeps_its_order(rule, values):
    tensor = torch.from_numpy(values)
    unit = to_unit(tensor, rule)
    assert bool(((unit >= 0) & (unit <= 1)).all())
    scaled = to_bytes(tensor, rule)
    assert scaled.bytes.dtype == torch.uint8
    assert np.isfinite(scaled.low).all()
    assert np.isfinite(scaled.high).all()
    for channel, cells in zip(tensor, unit, strict=True):
        known = ~channel.isnan()
        order = channel[known].argsort()
        assert bool((cells[known][order].diff() >= 0).all())
        assert bool((cells[~known] == 0).all())
    assert bool((scaled.bytes[tensor == INF] == 255).all())
    assert bool((scaled.bytes[tensor == -INF] == 0).all())
    assert bool((scaled.bytes[tensor.isnan()] == 0).all())


@pytest.mark.parametrize("rule", SCALES)
@given(values=maps, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_permuting_channels_permutes_the_bytes(rule, values, seed):
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(values)))
    tensor = torch.from_numpy(values)
    assert torch.equal(to_bytes(tensor[order], rule).bytes, to_bytes(tensor, rule).bytes[order])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_is_what_opencv_writes(dtype):
    halves = torch.arange(-3, 262, 0.5, dtype=torch.float64)
    noise = torch.rand(4000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 400 - 70
    values = (torch.cat([halves, noise]) / 255).to(dtype)[None, None]
    ok, png = cv2.imencode(".png", (values[0] * 255).numpy())
    assert ok
    np.testing.assert_array_equal(to_bytes(values, "unit").bytes[0], cv2.imdecode(png, cv2.IMREAD_UNCHANGED))


def test_unit_rounds_halves_to_even():
    # Powers of two over 255 do not survive float32; these halves do.
    values = torch.tensor([0.5, 1.5, 2.5, 253.5, 254.5], dtype=torch.float64)[None, None] / 255
    products = (values * 255).flatten().tolist()
    assert to_bytes(values, "unit").bytes.flatten().tolist() == [round(product) for product in products]


@pytest.mark.parametrize("rule", ["channel", "layer", "percentile"])
def test_a_zero_map_is_black_and_another_constant_mid_grey(rule):
    assert to_bytes(torch.zeros(2, 3, 3), rule).bytes.unique().tolist() == [0]
    assert to_bytes(torch.full((2, 3, 3), -7.25), rule).bytes.unique().tolist() == [128]


def test_a_dead_channel_stays_black_beside_a_live_one():
    values = torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [2.0, 3.0]])])
    assert to_bytes(values, "channel").bytes[0].unique().tolist() == [0]
    assert to_bytes(values, "layer").bytes[0].unique().tolist() == [0]


def test_symmetric_and_unit_keep_what_a_constant_means():
    assert to_bytes(torch.zeros(1, 2, 2), "symmetric").bytes.unique().tolist() == [128]
    assert to_bytes(torch.full((1, 2, 2), -3.0), "symmetric").bytes.unique().tolist() == [0]
    assert to_bytes(torch.full((1, 2, 2), 0.2), "unit").bytes.unique().tolist() == [51]


@given(values=plain_maps)
@settings(max_examples=60, deadline=None)
def test_zero_is_always_in_the_middle_under_symmetric(values):
    values[0, 0, 0] = 0
    assert int(to_bytes(torch.from_numpy(values), "symmetric").bytes[0, 0, 0]) == 128


def test_nan_and_inf_cells_leave_the_range_to_the_others():
    values = torch.tensor([[[1.0, 3.0, NAN], [INF, -INF, 2.0]]])
    scaled = to_bytes(values, "channel")
    assert scaled.bytes.tolist() == [[[0, 255, 0], [255, 0, 128]]]
    assert (scaled.low[0], scaled.high[0]) == (1.0, 3.0)
    assert (bool(scaled.extent.nan[0]), bool(scaled.extent.inf[0])) == (True, True)


@pytest.mark.parametrize("rule", SCALES)
def test_a_map_without_a_finite_value_is_drawn(rule):
    values = torch.tensor([[[NAN, INF, -INF]]])
    assert to_bytes(values, rule).bytes.tolist() == [[[0, 255, 0]]]


@pytest.mark.parametrize("rule", ["channel", "layer", "symmetric"])
@pytest.mark.parametrize("reach", [FLOAT_MAX, 1e-39])
def test_the_widest_and_the_narrowest_range_are_scaled(rule, reach):
    values = torch.tensor([[[-reach, 0.0, reach]]])
    assert to_bytes(values, rule).bytes.tolist() == [[[0, 128, 255]]]
    wide = torch.tensor([[[-1.7e308, 0.0, 1.7e308]]], dtype=torch.float64)
    assert to_bytes(wide, rule).bytes.tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("rule", SCALES)
@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 0, 4), (3, 1, 1)])
def test_small_shapes_keep_their_shape(rule, shape):
    scaled = to_bytes(torch.zeros(shape), rule)
    assert tuple(scaled.bytes.shape) == shape
    assert scaled.low.shape == scaled.high.shape == shape[:1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.uint8])
def test_other_types_are_computed_in_float32(dtype):
    values = torch.tensor([[[0, 1, 2, 4]]]).to(dtype)
    assert to_unit(values, "layer").dtype == torch.float32
    assert to_bytes(values, "layer").bytes.tolist() == [[[0, 64, 128, 255]]]
    assert to_bytes(torch.tensor([[[True, False]]]), "unit").bytes.tolist() == [[[255, 0]]]


def test_percentiles_clip_and_are_parameters():
    values = torch.arange(101.0)[None, None]
    scaled = to_bytes(values, "percentile")
    assert scaled.shared_range == (1.0, 99.0)
    assert scaled.bytes[0, 0, [0, 1, 50, 99, 100]].tolist() == [0, 0, 128, 255, 255]
    assert to_bytes(values, "percentile", percentiles=(10, 60)).shared_range == (10.0, 60.0)


def test_percentiles_that_coincide_fall_back_to_the_layer():
    values = torch.zeros(1, 100, 100)
    values[0, 0, :5] = 8.0
    scaled = to_bytes(values, "percentile")
    assert scaled.shared_range == (0.0, 8.0)
    assert int(scaled.bytes[0, 0, 0]) == 255


def test_percentiles_take_more_cells_than_torch_quantile():
    values = torch.arange(2**24 + 3, dtype=torch.float64).reshape(1, 1, -1)
    low, high = to_bytes(values, "percentile", percentiles=(25, 75)).shared_range
    assert (low, high) == pytest.approx((0.25 * (2**24 + 2), 0.75 * (2**24 + 2)))


def test_a_range_is_shared_by_all_rules_but_channel():
    values = torch.tensor([[[0.0, 1.0]], [[0.0, 2.0]]])
    assert to_bytes(values, "channel").shared_range is None
    for rule in ("layer", "percentile", "symmetric", "unit"):
        assert to_bytes(values, rule).shared_range is not None
    assert to_bytes(torch.zeros(0, 2, 2), "layer").shared_range is None


def test_statistics_already_at_hand_give_the_same_bytes():
    values = torch.randn(4, 5, 5, generator=torch.Generator().manual_seed(0))
    for rule in SCALES:
        known = to_bytes(values, rule, extent=channel_statistics(values))
        assert torch.equal(known.bytes, to_bytes(values, rule).bytes)


@pytest.mark.parametrize("rule", SCALES)
def test_scaling_leaves_the_values_as_they_were(rule):
    values = torch.tensor([[[0.25, NAN, 3.0]]])
    before = values.clone()
    to_bytes(values, rule)
    assert torch.equal(values.nan_to_num(9), before.nan_to_num(9))


def test_values_with_a_gradient_are_scaled():
    assert not to_unit(torch.rand(1, 2, 2, requires_grad=True)).requires_grad


def test_wrong_options_name_the_choices():
    with pytest.raises(OptionError, match=r"channel, layer, .*did you mean 'percentile'"):
        to_bytes(torch.zeros(1, 1, 1), "percentil")
    for bad in ((50, 50), (-1, 99), (1, 101), (NAN, 99)):
        with pytest.raises(OptionError, match="percentiles"):
            to_bytes(torch.zeros(1, 1, 1), "percentile", percentiles=bad)
    with pytest.raises(InputError, match=r"\(C, H, W\)"):
        to_bytes(torch.zeros(2, 2), "layer")
    assert math.isclose(float(to_unit(torch.tensor([[[1.0]]]), "unit")), 1.0)
