"""Reductions against NumPy and plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from layerscope.errors import InputError, OptionError
from layerscope.render import REDUCTIONS, reduce_channels, to_bytes

NAN, INF = float("nan"), float("inf")

SLOW = {
    "mean": lambda cell: sum(cell) / len(cell),
    "max": max,
    "absmean": lambda cell: sum(abs(value) for value in cell) / len(cell),
    "l2": lambda cell: sum(value * value for value in cell) ** 0.5,
    "std": lambda cell: (sum((value - sum(cell) / len(cell)) ** 2 for value in cell) / len(cell)) ** 0.5,
}


def slow_reduce(values, how):
    """Every cell by itself, over its finite channels."""
    result = np.full(values.shape[1:], np.nan)
    for y, x in np.ndindex(result.shape):
        cell = [float(value) for value in values[:, y, x] if np.isfinite(value)]
        if cell:
            result[y, x] = SLOW[how](cell)
    return result


def slow_pca(values):
    """Principal components by a singular value decomposition, each from 0 to 1."""
    channels, height, width = values.shape
    cells = values.reshape(channels, -1).T.astype(np.float64)
    _, _, axes = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
    picture = np.full((height * width, 3), 0.5)
    for index, axis in enumerate(axes[:3]):
        axis = axis if axis[np.abs(axis).argmax()] > 0 else -axis
        component = (cells - cells.mean(0)) @ axis
        picture[:, index] = (component - component.min()) / np.ptp(component)
    return picture.reshape(height, width, 3)


@pytest.mark.parametrize("how", SLOW)
@given(
    values=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4),
        elements=st.floats(-50, 50, width=32) | st.sampled_from([NAN, INF, -INF]),
    )
)
@settings(max_examples=60, deadline=None)
def test_every_reduction_equals_its_plain_loop(how, values):
    got = reduce_channels(torch.from_numpy(values), how)
    np.testing.assert_allclose(got.numpy(), slow_reduce(values, how), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 4, 5), (8, 5, 6), (40, 3, 4), (64, 9, 9)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pca_equals_a_singular_value_decomposition(shape, dtype):
    generator = torch.Generator().manual_seed(sum(shape))
    spread = torch.arange(shape[0], 0, -1).double()[:, None, None] ** 2
    values = (torch.randn(shape, generator=generator, dtype=torch.float64) * spread + 5).to(dtype)
    got = reduce_channels(values, "pca")
    assert got.dtype == dtype
    np.testing.assert_allclose(got.numpy(), slow_pca(values.numpy()), atol=2e-4)


def test_pca_gives_the_same_picture_twice():
    values = torch.randn(20, 6, 6, generator=torch.Generator().manual_seed(2))
    assert torch.equal(reduce_channels(values, "pca"), reduce_channels(values.clone(), "pca"))


@pytest.mark.parametrize("shape", [(1, 4, 4), (2, 4, 4), (5, 1, 2), (5, 1, 1)])
def test_pca_is_mid_grey_where_the_data_has_no_component(shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    got = reduce_channels(values, "pca")
    there = min(shape[0], shape[1] * shape[2] - 1)
    assert bool((got[..., there:] == 0.5).all())
    for component in range(min(there, 3)):
        assert (float(got[..., component].min()), float(got[..., component].max())) == (0.0, 1.0)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e30, NAN, INF])
@pytest.mark.parametrize("channels", [1, 3, 600])
def test_pca_of_a_constant_map_is_mid_grey(value, channels):
    assert reduce_channels(torch.full((channels, 4, 5), value), "pca").unique().tolist() == [0.5]


def test_equal_channels_have_no_deviation_at_all():
    channel = torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(0)) * 100
    assert reduce_channels(channel.expand(7, 5, 5), "std").unique().tolist() == [0.0]


@pytest.mark.parametrize("how", SLOW)
@pytest.mark.parametrize("size", [3e38, 1e-30])
def test_values_of_any_magnitude_are_reduced(how, size):
    values = torch.tensor([[[1.0, 0.5]], [[0.25, -0.5]]]) * size / 2
    expected = slow_reduce(values.double().numpy(), how)
    np.testing.assert_allclose(reduce_channels(values, how).numpy(), expected, rtol=1e-4, atol=size * 1e-6)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_one_bad_channel_does_not_spoil_the_others(how):
    values = torch.rand(4, 3, 3, generator=torch.Generator().manual_seed(1))
    values[2] = NAN
    assert bool(reduce_channels(values, how).isfinite().all())


def test_cells_that_are_finite_nowhere_are_reported_by_the_scale():
    values = torch.ones(2, 1, 2)
    values[:, 0, 0] = NAN
    picture = reduce_channels(values, "mean")
    scaled = to_bytes(picture[None], "layer")
    assert int(scaled.bytes[0, 0, 0]) == 0
    assert bool(scaled.extent.nan[0])


@pytest.mark.parametrize("how", REDUCTIONS)
def test_half_precision_and_whole_numbers_are_reduced_in_float32(how):
    for dtype in (torch.float16, torch.bfloat16, torch.int32, torch.bool):
        got = reduce_channels(torch.ones(3, 2, 2).to(dtype), how)
        assert got.dtype == torch.float32
        assert got.shape == ((2, 2, 3) if how == "pca" else (2, 2))
    assert reduce_channels(torch.zeros(3, 0, 2), how).shape[:2] == (0, 2)


def test_wrong_options_and_maps_are_refused():
    with pytest.raises(OptionError, match=r"mean, max, .*did you mean 'mean'"):
        reduce_channels(torch.zeros(1, 1, 1), "meen")
    with pytest.raises(InputError, match="without channels"):
        reduce_channels(torch.zeros(0, 2, 2))
    with pytest.raises(InputError, match=r"\(C, H, W\)"):
        reduce_channels(torch.zeros(2, 2))
