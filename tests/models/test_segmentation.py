"""Networks of segmentation-models-pytorch as sources."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import layerscope as ls
from hub import REVISION, put, use_cache
from layerscope.errors import DownloadError, LayerscopeWarning, OptionError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

smp = pytest.importorskip("segmentation_models_pytorch")


def load(name: str, **options: Any) -> ls.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        return ls.load(f"smp:{name}", device="cpu", **options)


@pytest.mark.parametrize("name", ["Unet", "FPN", "DeepLabV3Plus"])
def test_the_promises_of_capture_hold(name: str) -> None:
    found = ls.check(load(name, size=64))
    assert found.passed, found.rows


def test_the_network_is_the_librarys_own_and_its_stages_the_encoders_features() -> None:
    net = load("unet", size=64, classes=3, seed=4)
    plain = smp.Unet("resnet18", encoder_weights=None, classes=3).eval()
    plain.load_state_dict(net.module.state_dict())
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    x, _ = net.prepare(pixels)
    values = (pixels / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert np.allclose(x[0].permute(1, 2, 0), values, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(net.outputs(x)[0], plain(x))
        features = plain.encoder(x)[1:]
    maps = ls.capture(net, pixels)
    assert list(maps) == ["encoder.relu", "encoder.layer1", "encoder.layer2", "encoder.layer3", "encoder.layer4"]
    for one, feature in zip(maps.values(), features, strict=True):
        assert torch.equal(one.values, feature[0])
    assert net.names == ("class 0", "class 1", "class 2")


def test_official_weights_are_the_encoders_and_bring_its_preparation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = use_cache(tmp_path / "cache", monkeypatch)
    with pytest.raises(DownloadError, match="could not be fetched"):
        load("Unet", weights="official")
    settings = smp.encoders.encoders["resnet18"]["pretrained_settings"]["imagenet"]
    trained = load("Unet", seed=7).module.encoder.state_dict()
    save_file(trained, tmp_path / "model.safetensors")
    told = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "input_range": [0, 255], "input_space": "BGR"}
    (tmp_path / "config.json").write_text(json.dumps(told))
    monkeypatch.setitem(settings, "revision", REVISION)
    put(cache, settings["repo_id"], [tmp_path / "model.safetensors", tmp_path / "config.json"])
    net = ls.load("smp:Unet", weights="official", device="cpu")
    assert all(torch.equal(tensor, trained[key]) for key, tensor in net.module.encoder.state_dict().items())
    assert "encoder" in net.weights.summary
    prepared = net.preparation
    assert (prepared.mean, prepared.std, prepared.range, prepared.order) == ((1, 2, 3), (4, 5, 6), "0-255", "bgr")


def test_what_is_wrong_is_said_in_a_line() -> None:
    with pytest.raises(SourceError, match=r"no network 'Unett'; there are .*did you mean 'unet'"):
        load("Unett")
    with pytest.raises(SourceError, match="cannot be built"):
        load("Unet", arguments={"encoder_name": "resnet19"})
    with pytest.raises(OptionError, match="takes multiples of 32, such as 64x96"):
        load("Unet", size=(70, 100))
