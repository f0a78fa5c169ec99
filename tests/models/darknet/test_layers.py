"""Each layer beside a slow loop over its numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from layerscope.models.darknet.decode import Detection
from layerscope.models.darknet.joins import Route, Sam, ScaleChannels, Shortcut, WeightedShortcut
from layerscope.models.darknet.layers import (
    ACTIVATIONS,
    AveragePool,
    Crop,
    LocalAveragePool,
    MaxPool,
    Reorg,
    Reorg3d,
    Softmax,
    Upsample,
)
from layerscope.models.heads import Head


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(layer: nn.Module, *arrays: np.ndarray) -> np.ndarray:
    """Call a layer, and hold it to leaving its inputs alone."""
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    with torch.inference_mode():
        output = layer(*tensors)
    for tensor, array in zip(tensors, arrays, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), array)
    return output.numpy()


def slow_pool(x: np.ndarray, size: int, stride_yx: tuple[int, int], padding: int, kind: str) -> np.ndarray:
    n, channels, height, width = x.shape
    rows = (height + padding - size) // stride_yx[0] + 1
    columns = (width + padding - size) // stride_yx[1] + 1
    output = np.empty((n, channels, rows, columns), np.float32)
    for b, c, i, j in np.ndindex(*output.shape):
        top, left = i * stride_yx[0] - padding // 2, j * stride_yx[1] - padding // 2
        inside = [
            x[b, c, y, z]
            for y, z in itertools.product(range(top, top + size), range(left, left + size))
            if 0 <= y < height and 0 <= z < width
        ]
        output[b, c, i, j] = max(inside) if kind == "max" else np.mean(inside)
    return output


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 7, 5), (1, 1, 1, 1), (1, 2, 13, 13)])
@pytest.mark.parametrize(
    ("size", "stride_yx", "padding"),
    [
        (2, (2, 2), 1),
        (2, (1, 1), 1),
        (3, (2, 2), 2),
        (3, (1, 2), 2),
        (5, (1, 1), 4),
        (4, (3, 2), 3),
        (1, (2, 2), 0),
        (3, (2, 2), 4),
        (2, (2, 2), 2),
        (13, (1, 1), 12),
    ],
)
def test_pools_follow_darknets_padding(
    shape: tuple[int, ...], size: int, stride_yx: tuple[int, int], padding: int
) -> None:
    x = numbers(*shape) - 3  # mostly negative: a padding of zeros would win
    expected = slow_pool(x, size, stride_yx, padding, "max")
    np.testing.assert_array_equal(run(MaxPool(size, stride_yx, padding), x), expected)
    expected = slow_pool(x, size, stride_yx, padding, "mean")
    np.testing.assert_allclose(run(LocalAveragePool(size, stride_yx, padding), x), expected, rtol=1e-5)


def test_avgpool_is_the_mean_of_each_channel() -> None:
    x = numbers(2, 3, 4, 5)
    np.testing.assert_allclose(run(AveragePool(), x)[..., 0, 0], x.mean(axis=(2, 3)), rtol=1e-5)


def slow_reorg(x: np.ndarray, step: int) -> np.ndarray:
    """Darknet's index arithmetic: a read position for every place of the input's own shape."""
    n, channels, height, width = x.shape
    output = np.empty_like(x).reshape(n, -1)
    flat = x.reshape(n, -1)
    fewer = channels // step**2
    for c, y, z in np.ndindex(channels, height, width):
        offset, channel = divmod(c, fewer)
        source_y, source_z = y * step + offset // step, z * step + offset % step
        source = source_z + width * step * (source_y + height * step * channel)
        output[:, z + width * (y + height * c)] = flat[:, source]
    return output.reshape(n, channels * step**2, height // step, width // step)


@pytest.mark.parametrize(("shape", "step"), [((2, 8, 6, 4), 2), ((1, 4, 2, 8), 2), ((1, 18, 6, 3), 3)])
def test_reorg_has_yolov2s_order(shape: tuple[int, ...], step: int) -> None:
    x = numbers(*shape)
    np.testing.assert_array_equal(run(Reorg(step), x), slow_reorg(x, step))
    assert not np.array_equal(run(Reorg(step), x), run(Reorg3d(step), x))


def test_reorg3d_is_plain_space_to_depth() -> None:
    x = numbers(2, 3, 4, 6)
    output = run(Reorg3d(2), x)
    for c, y, z in np.ndindex(3, 4, 6):
        channel = ((y % 2) * 2 + z % 2) * 3 + c
        np.testing.assert_array_equal(output[:, channel, y // 2, z // 2], x[:, c, y, z])


def test_upsample_repeats_each_cell_and_scales() -> None:
    x = numbers(1, 2, 3, 2)
    output = run(Upsample(3, 0.5), x)
    for c, y, z in np.ndindex(2, 9, 6):
        assert output[0, c, y, z] == x[0, c, y // 3, z // 3] * 0.5


def test_softmax_works_on_groups_of_the_flattened_picture() -> None:
    x = numbers(2, 6, 1, 2)
    output = run(Softmax(3, 2.0, spatial=False), x).reshape(2, 3, 4)
    powers = np.exp(x.reshape(2, 3, 4) / 2)
    np.testing.assert_allclose(output, powers / powers.sum(axis=2, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(run(Softmax(1, 1.0, spatial=True), x).sum(axis=1), 1, rtol=1e-5)


def test_crop_takes_the_middle_and_spreads_the_range() -> None:
    x = numbers(1, 2, 7, 6)
    np.testing.assert_allclose(run(Crop((3, 2), adjust=True), x), x[:, :, 2:5, 2:4] * 2 - 1)
    np.testing.assert_array_equal(run(Crop((3, 2), adjust=False), x), x[:, :, 2:5, 2:4])


def test_route_takes_one_group_of_each_source() -> None:
    first, second = numbers(2, 6, 3, 2), numbers(2, 4, 3, 2, seed=1)
    output = run(Route(2, 1), first, second)
    expected = [first[:, c] for c in (3, 4, 5)] + [second[:, c] for c in (2, 3)]
    np.testing.assert_array_equal(output, np.stack(expected, axis=1))
    assert run(Route(), first, second).shape == (2, 10, 3, 2)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_shortcut_adds_only_the_channels_that_both_have(channels: int) -> None:
    x, source = numbers(2, 4, 3, 2), numbers(2, channels, 3, 2, seed=1)
    expected = x.copy()
    for c in range(min(4, channels)):
        expected[:, c] += source[:, c]
    np.testing.assert_array_equal(run(Shortcut(nn.Identity()), x, source), expected)
    assert run(Shortcut(nn.ReLU()), x, source).min() >= 0


def slow_weighted(terms: list[np.ndarray], weights: np.ndarray, normalization: str) -> np.ndarray:
    output = np.zeros_like(terms[0])
    for c in range(output.shape[1]):
        column = [float(row[min(c, len(row) - 1)]) for row in weights]
        if normalization == "relu":
            column = [max(w, 0.0) for w in column]
        if normalization == "softmax":
            column = [float(np.exp(w - max(column))) for w in column]
        if normalization != "none":
            column = [w / (sum(column) + 1e-4) for w in column]
        for term, weight in zip(terms, column, strict=True):
            if c < term.shape[1]:
                output[:, c] += term[:, c] * weight
    return output


@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_weighted_shortcut_weighs_each_term(normalization: str, per_channel: bool) -> None:
    terms = [numbers(2, channels, 3, 2, seed=channels) for channels in (4, 4, 2, 6)]
    layer = WeightedShortcut(4, 4 if per_channel else 1, normalization, nn.Identity())  # type: ignore[arg-type]
    weights = numbers(4, 4 if per_channel else 1, seed=9)
    layer.weight.data = torch.from_numpy(weights)[:, :, None, None]
    np.testing.assert_allclose(run(layer, *terms), slow_weighted(terms, weights, normalization), rtol=1e-4)


def test_scale_channels_and_sam_multiply() -> None:
    source = numbers(2, 3, 2, 4)
    for shape in ((2, 3, 1, 1), (2, 1, 2, 4)):
        factor = numbers(*shape, seed=1)
        output = run(ScaleChannels(nn.Identity()), factor, source)
        for b, c, y, z in np.ndindex(2, 3, 2, 4):
            scale = factor[b, c % shape[1], y % shape[2], z % shape[3]]
            assert output[b, c, y, z] == source[b, c, y, z] * scale
    other = numbers(2, 3, 2, 4, seed=2)
    np.testing.assert_array_equal(run(Sam(nn.Identity()), other, source), other * source)


SLOW_ACTIVATIONS = {
    "elu": lambda x: x if x >= 0 else np.exp(x) - 1,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(0.797885 * x + 0.035677 * x**3)),
    "hardtan": lambda x: min(max(x, -1), 1),
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "linear": lambda x: x,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (np.exp(x) - 1),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "tanh": lambda x: np.tanh(x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_darknets(name: str) -> None:
    x = np.linspace(-8, 8, 97, dtype=np.float32).reshape(1, 1, 1, 97)
    expected = [SLOW_ACTIVATIONS[name](float(value)) for value in x.ravel()]
    np.testing.assert_allclose(run(ACTIVATIONS[name](), x).ravel(), expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["yolo", "region"])
@pytest.mark.parametrize("new_coords", [False, True])
def test_detection_squashes_all_but_width_and_height(kind: str, new_coords: bool) -> None:
    head = Head(
        layer="0_convolutional",
        stride=8,
        anchors=((1.0, 2.0), (3.0, 4.0)),
        classes=3,
        kind=kind,  # type: ignore[arg-type]
        scale_x_y=1.2,
        squashed=new_coords,
    )
    raw = numbers(2, 16, 2, 3)
    expected = raw.copy()
    sigmoid = (lambda x: x) if new_coords else lambda x: 1 / (1 + np.exp(-x))
    for base in (0, 8):
        for c in (0, 1):
            expected[:, base + c] = sigmoid(raw[:, base + c]) * 1.2 - 0.1
        expected[:, base + 4] = sigmoid(raw[:, base + 4])
        classes = raw[:, base + 5 : base + 8]
        if kind == "region" and not new_coords:
            classes = np.exp(classes) / np.exp(classes).sum(axis=1, keepdims=True)
        else:
            classes = sigmoid(classes)
        expected[:, base + 5 : base + 8] = classes
    np.testing.assert_allclose(run(Detection(head), raw), expected, rtol=1e-4, atol=1e-6)
