"""Statistics against a plain loop, and on maps that are out of the ordinary."""

import math

import numpy as np
import pytest
import torch

from layerscope.errors import InputError
from layerscope.render import channel_extent, channel_marks, channel_statistics

NAN, INF = float("nan"), float("inf")


def slow_statistics(values):
    """One row a channel: min, max, mean, share of zeros, constant, NaN, Inf."""
    rows = []
    for channel in values.double().tolist():
        cells = [cell for line in channel for cell in line]
        finite = [cell for cell in cells if math.isfinite(cell)]
        rows.append(
            (
                min(finite, default=NAN),
                max(finite, default=NAN),
                sum(finite) / len(finite) if finite else NAN,
                sum(cell == 0 for cell in cells) / len(cells),
                len(finite) == len(cells) and len(set(finite)) == 1,
                any(math.isnan(cell) for cell in cells),
                any(math.isinf(cell) for cell in cells),
            )
        )
    return rows


def mixed_map(dtype=torch.float32):
    values = torch.randn(9, 4, 5, generator=torch.Generator().manual_seed(1)).relu()
    values[1] = 0
    values[2] = -1.5
    values[3, 0, 0] = NAN
    values[4, 0, 0] = INF
    values[5, 1, 1], values[5, 2, 2] = -INF, NAN
    values[6] = NAN
    values[7] = INF
    values[8] = 2
    values[8, 0, 0] = NAN
    return values.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_statistics_equal_a_plain_loop(dtype):
    values = mixed_map(dtype)
    got = channel_statistics(values)
    expected = [np.array(column) for column in zip(*slow_statistics(values), strict=True)]
    for name, column in zip(("min", "max", "mean", "zero_share", "constant", "nan", "inf"), expected, strict=True):
        np.testing.assert_allclose(getattr(got, name), column, rtol=1e-6, atol=1e-7, err_msg=name)
    np.testing.assert_array_equal(got.finite, ~(got.nan | got.inf))


def test_the_mean_of_huge_values_does_not_overflow():
    values = torch.full((2, 8, 8), 3e38)
    values[1, 0, 0] = 2e38
    got = channel_statistics(values)
    np.testing.assert_allclose(got.mean, values.double().mean((1, 2)).numpy(), rtol=1e-5)
    assert got.constant.tolist() == [True, False]
    assert got.finite.all()


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3), (0, 0, 0)])
def test_a_map_without_cells_has_statistics_of_its_channels(shape):
    got = channel_statistics(torch.zeros(shape))
    for name in ("min", "max", "mean", "zero_share", "constant", "nan", "inf"):
        assert getattr(got, name).shape == shape[:1]
    assert not got.constant.any()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_whole_numbers_and_booleans_are_measured(dtype):
    got = channel_statistics(torch.tensor([[[0, 1], [1, 1]]], dtype=dtype))
    assert (got.min[0], got.max[0], got.mean[0], got.zero_share[0]) == (0, 1, 0.75, 0.25)


def test_what_is_no_real_map_is_refused():
    with pytest.raises(InputError, match="one item of the batch"):
        channel_extent(torch.zeros(1, 2, 3, 3))
    with pytest.raises(InputError, match="complex"):
        channel_extent(torch.zeros(1, 2, 2, dtype=torch.complex64))


def test_marks_say_what_a_channel_holds():
    assert channel_marks(channel_extent(mixed_map())) == [
        "", "constant", "constant", "NaN", "Inf", "NaN Inf", "NaN", "Inf", "NaN",
    ]  # fmt: skip
    single = channel_extent(torch.tensor([[[1.0]], [[NAN]]]))
    assert channel_marks(single, single_cell=True) == ["", "NaN"]


def test_measuring_leaves_the_values_as_they_were():
    values = mixed_map()
    before = values.clone()
    channel_statistics(values)
    assert torch.equal(values.nan_to_num(7), before.nan_to_num(7))
