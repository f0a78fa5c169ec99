"""Real networks with real weights, from code outside of the package, against what their own code gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import layerscope as ls

CODE = Path(__file__).resolve().parents[1] / "trained.py"
RESNET, FASTESTDET = "resnet20-12fca82f.th", "fastestdet_AP05_0.253207_280-epoch.pth"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.fixture(scope="module")
def resnet(shared_data: Path) -> ls.Network:
    return ls.load(f"{CODE}:ResNet20", weights=shared_data / "models" / RESNET, size=32, device="cpu", **IMAGENET)


@pytest.fixture(scope="module")
def fastestdet(shared_data: Path) -> ls.Network:
    weights = shared_data / "models" / FASTESTDET
    return ls.load(f"{CODE}:FastestDet", weights=weights, size=352, order="bgr", device="cpu")


def close(found: torch.Tensor, expected: np.ndarray, share: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found.numpy() - expected).max() <= share * np.abs(expected).max()


@pytest.mark.parametrize("crop", [0, 1, 2])
def test_resnet20_gives_what_its_own_code_gave(resnet: ls.Network, shared_data: Path, crop: int) -> None:
    reference = np.load(shared_data / "reference" / "resnet20__crops.npz")
    maps = ls.capture(resnet, reference["input_uint8"][crop], layers=["conv1", "bn1", "layer?", "linear"])
    for name in ("conv1", "bn1", "layer1", "layer2", "layer3"):
        close(maps[name].values, reference[name][crop], 1e-5)
    close(maps["linear"].values, reference["logits"][crop], 1e-5)
    assert resnet.stages == ("layer1", "layer2", "layer3")


def test_resnet20s_functional_activations_and_additions_are_found(resnet: ls.Network, shared_data: Path) -> None:
    picture = np.load(shared_data / "reference" / "resnet20__crops.npz")["input_uint8"][2]
    maps = ls.capture(resnet, picture, layers=["relu", "*.relu", "*.add", "layer?.?"])
    assert sum(name.endswith(".add") for name in maps) == 9
    for stage in (1, 2, 3):
        for block in range(3):
            name = f"layer{stage}.{block}"
            assert torch.equal(maps[f"{name}.add"].values.clamp(min=0), maps[name].values)
            assert torch.equal(maps[f"{name}.relu:1"].values, maps[name].values)


def test_fastestdet_gives_what_its_own_code_gave(fastestdet: ls.Network, shared_data: Path) -> None:
    reference = np.load(shared_data / "reference" / "fastestdet__dog.npz")
    names = ["backbone.first_conv", "backbone.max_pool2d", "backbone.stage[234]", "SPP", "detect_head"]
    maps = ls.capture(fastestdet, np.ascontiguousarray(reference["input_uint8_bgr"][..., ::-1]), layers=names)
    close(maps["backbone.first_conv"].values, reference["backbone.first_conv"].astype(np.float32), 5e-4)
    close(maps["backbone.max_pool2d"].values, reference["backbone.maxpool"], 1e-5)
    for name in ("backbone.stage2", "backbone.stage3", "backbone.stage4", "SPP"):
        close(maps[name].values, reference[name], 1e-5)
    close(maps["detect_head"].values, reference["output"], 1e-5)


def test_their_maps_are_what_plain_hooks_see(resnet: ls.Network, fastestdet: ls.Network, shared_data: Path) -> None:
    for net in (resnet, fastestdet):
        found = ls.check(net, shared_data / "images" / "dog.jpg")
        assert found.passed, found.rows
