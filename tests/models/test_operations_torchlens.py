"""Operations found in real architectures, held against TorchLens, which logs every operation its own way."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.models.operations import operation_name

torchlens = pytest.importorskip("torchlens")
torchvision = pytest.importorskip("torchvision")


def logged(module: nn.Module, x: Tensor, operation: str) -> list[Tensor]:
    """What TorchLens has of one operation, in the order of running."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        trace = torchlens.trace(module, x)
        return [
            entry.out.detach().clone()
            for entry in trace.layer_list
            if isinstance(entry.func_name, str) and operation_name(entry.func_name) == operation
        ]


def compare(module: nn.Module, x: Tensor, operation: str) -> list[str]:
    maps = ls.capture(module, inputs=x, layers="operations")
    ours = {name: one.values for name, one in maps.items() if name.partition(":")[0].rpartition(".")[2] == operation}
    theirs = logged(module, x, operation)
    assert len(ours) == len(theirs)
    for (name, values), expected in zip(ours.items(), theirs, strict=True):
        assert torch.equal(values, expected[0]), name
    return list(ours)


def test_the_residual_additions_of_resnet() -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None).eval()
    found = compare(net, torch.randn(1, 3, 64, 64), "add")
    assert found == [f"layer{stage}.{block}.add" for stage in (1, 2, 3, 4) for block in (0, 1)]


def test_the_concatenations_of_densenet() -> None:
    torch.manual_seed(0)
    net = torchvision.models.DenseNet(8, (2, 3), 16, num_classes=5).eval()
    found = compare(net, torch.randn(1, 3, 64, 64), "cat")
    assert [name.partition(":")[0] for name in found] == [
        "features.denseblock1.denselayer1.cat",
        "features.denseblock1.denselayer2.cat",
        "features.denseblock1.cat",
        *(f"features.denseblock2.denselayer{k}.cat" for k in (1, 2, 3)),
        "features.denseblock2.cat",
    ]


def test_the_concatenations_and_additions_of_yolov3() -> None:
    net = ls.load("demo", device="cpu")
    x, _ = net.prepare(np.random.default_rng(0).integers(0, 256, (416, 416, 3)).astype(np.uint8))
    joined = compare(net.module, x, "cat")
    assert len(joined) == 2, "the neck joins two scales to what comes from above"
    added = compare(net.module, x, "add")
    assert len(added) == sum(name.endswith(".conv2") for name in dict(net.module.backbone.named_modules()))
