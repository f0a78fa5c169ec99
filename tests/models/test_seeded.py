"""Seeded random weights: the same always and everywhere, and fit for deep networks."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import layerscope as ls
from layerscope.models.seeded import seeded_tensor

KEYS = ["conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "fc.weight"]
SHAPES = {"conv.weight": (8, 4, 3, 3), "fc.weight": (10, 20)}

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def tensor(key: str, seed: int) -> torch.Tensor:
    return seeded_tensor(key, SHAPES.get(key, (32,)), seed)


@given(key=keys, shape=shapes, seed=st.integers(0, 2**40))
def test_equal_seeds_and_names_give_equal_numbers(key: str, shape: tuple[int, ...], seed: int) -> None:
    one, other = seeded_tensor(key, shape, seed), seeded_tensor(key, shape, seed)
    assert torch.equal(one, other)
    assert one.shape == shape
    assert one.dtype == torch.float32
    assert one.isfinite().all()


@pytest.mark.parametrize("key", KEYS)
def test_other_seeds_and_other_names_give_other_numbers(key: str) -> None:
    drawn = [tensor(key, seed) for seed in range(5)]
    drawn.append(seeded_tensor(f"another.{key}", tuple(drawn[0].shape), 0))
    for index, one in enumerate(drawn):
        for other in drawn[:index]:
            assert (one != other).float().mean() > 0.9
            assert abs(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1]) < 0.6


@pytest.mark.parametrize("key", KEYS)
def test_the_global_generator_is_neither_asked_nor_moved(key: str) -> None:
    expected = tensor(key, 3)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(tensor(key, 3), expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_process_draws_the_same_numbers() -> None:
    code = (
        "from layerscope.models.seeded import seeded_tensor\n"
        "print(*(float(x).hex() for x in seeded_tensor('a.weight', (3, 2), 7).flatten()))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    numbers = [float.fromhex(text) for text in result.stdout.split()]
    assert numbers == seeded_tensor("a.weight", (3, 2), 7).flatten().tolist()


@pytest.mark.parametrize("shape", [(64, 32, 3, 3), (512, 256, 1, 1), (100, 400), (256, 1, 5, 5)])
def test_weights_have_a_variance_of_one_by_fan_in(shape: tuple[int, ...]) -> None:
    weight = seeded_tensor("x.weight", shape, 0)
    fan_in = math.prod(shape[1:])
    spread = 5 / math.sqrt(weight.numel())
    assert weight.mean().item() == pytest.approx(0, abs=spread)
    assert weight.square().mean().item() * fan_in == pytest.approx(1, rel=2 * spread)


def test_batch_norms_start_as_what_changes_little() -> None:
    assert torch.equal(seeded_tensor("n.running_var", (7,), 0), torch.ones(7))
    counter = seeded_tensor("n.num_batches_tracked", (), 0)
    assert (counter.dtype, counter.item(), counter.shape) == (torch.int64, 0, ())
    assert seeded_tensor("n.weight", (1000,), 0).mean().item() == pytest.approx(1, abs=0.02)
    for key in ("n.bias", "n.running_mean"):
        values = seeded_tensor(key, (1000,), 0)
        assert values.mean().item() == pytest.approx(0, abs=0.02)
        assert values.std().item() == pytest.approx(0.1, rel=0.1)


def test_values_stay_of_one_size_through_seventy_five_convolutions() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.LayerscopeWarning)
        net = ls.load("yolov3", seed=2, classes=3, device="cpu")
    convolutions = [name for name, module in net.module.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 75
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), ls.tap(net.module, "all") as tape:
        net.module(x)
    for layer, values in tape.items():
        assert values.isfinite().all(), layer
        assert 1e-2 < values.std().item() < 1e2, layer


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_a_network_of_random_weights_is_the_same_tensor_by_tensor() -> None:
    first, same, other = (ls.load("darknet53", seed=seed, classes=4, device="cpu").module for seed in (1, 1, 2))
    for key, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[key])
        assert torch.equal(value, seeded_tensor(key, tuple(value.shape), 1))
        if key.endswith("conv.weight"):
            assert not torch.equal(value, other.state_dict()[key])
