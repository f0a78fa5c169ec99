"""Networks of PyTorch Image Models as sources."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import layerscope as ls
from hub import put, use_cache
from layerscope.errors import DownloadError, LayerscopeWarning, OptionError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

timm = pytest.importorskip("timm")


def load(name: str, **options: Any) -> ls.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        return ls.load(f"timm:{name}", device="cpu", **options)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(96, 128), (333, 250), (37, 201), (481, 640)])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"crop_pct": 0.875, "interpolation": "bilinear"},
        {"crop_pct": 1.0, "crop_mode": "squash"},
        {"crop_pct": 1.0, "crop_mode": "border", "mean": (0.5, 0.5, 0.5)},
    ],
    ids=["center", "bilinear", "squash", "border"],
)
def test_a_picture_is_prepared_as_by_timms_own_transforms(config: dict[str, Any], shape: tuple[int, int]) -> None:
    net = load("mobilenetv3_small_050", arguments={"pretrained_cfg_overlay": config})
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net.module))
    pixels = noise(*shape)
    x, _ = net.prepare(pixels)
    assert torch.allclose(x[0], transform(Image.fromarray(pixels)), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "maxvit_rmlp_pico_rw_256"],
)
def test_the_promises_of_capture_hold(name: str) -> None:
    found = ls.check(load(name, size=256 if name.startswith("maxvit") else 64))
    assert found.passed, found.rows


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "efficientnet_b0"])
def test_stages_are_timms_own_features(name: str) -> None:
    net = load(name, size=64)
    picture = noise(64, 64)
    x, _ = net.prepare(picture)
    with torch.no_grad():
        features = net.module.forward_intermediates(x, intermediates_only=True)
    maps = ls.capture(net, picture)  # convnext has a module that is called stages, too
    assert list(maps) == list(net.stages)
    assert len(maps) == len(features)
    for one, feature in zip(maps.values(), features, strict=True):
        assert torch.equal(one.values, feature[0]), one.layer


def test_a_vision_transformers_tokens_lie_on_their_grid() -> None:
    net = load("vit_tiny_patch16_224", size=(64, 96))
    maps = ls.capture(net, noise(80, 80), layers="blocks.3")["blocks.3"]
    assert (maps.axes.cells, maps.axes.apart) == ((4, 6), 1)
    assert torch.equal(maps.maps, maps.values[1:].T.reshape(192, 4, 6))
    assert torch.equal(maps.apart, maps.values[:1])


def test_a_swin_transformers_maps_have_their_channels_first() -> None:
    net = load("swin_tiny_patch4_window7_224", size=64)
    maps = ls.capture(net, noise(64, 64))
    assert list(maps) == ["layers.0", "layers.1", "layers.2", "layers.3"]
    assert torch.equal(maps["layers.0"].maps, maps["layers.0"].values.permute(2, 0, 1))
    assert [tuple(one.maps.shape) for one in maps.values()] == [(96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2)]


def test_attention_weights_are_there_where_attention_is_not_fused() -> None:
    before = timm.layers.use_fused_attn()
    net = load("vit_tiny_patch16_224", size=64, arguments={"fused_attn": False})
    assert timm.layers.use_fused_attn() == before
    name = "blocks.0.attn.softmax"
    weights = ls.capture(net, noise(64, 64), layers=name)[name].values
    assert tuple(weights.shape) == (3, 17, 17), "heads, and every token with every other"
    assert torch.allclose(weights.sum(-1), torch.ones(3, 17))
    same = load("vit_tiny_patch16_224", size=64)
    x, _ = net.prepare(noise(64, 64))
    assert torch.allclose(net.outputs(x)[0], same.outputs(x)[0], atol=1e-4)


def test_classes_are_named_where_timm_knows_them() -> None:
    assert load("resnet18").names[1].startswith("goldfish")
    assert load("resnet18", classes=3).names == ("class 0", "class 1", "class 2")


def test_sizes_are_built_where_they_are_fixed_and_refused_later() -> None:
    net = load("vit_tiny_patch16_224", size=64)
    assert net.module.pos_embed.shape[1] == 17
    with pytest.raises(OptionError, match="was built for 64x64; load it with the size"):
        net.prepare(noise(64, 64), size=96)
    assert load("resnet18").prepare(noise(64, 64), size=96)[0].shape == (1, 3, 96, 96)


def test_what_is_wrong_is_said_in_a_line() -> None:
    with pytest.raises(SourceError, match="no network 'resnet19'; did you mean"):
        load("resnet19")
    with pytest.raises(SourceError, match="unexpected keyword argument 'depth'"):
        load("resnet18", arguments={"depth": 3})
    with pytest.raises(OptionError, match="no official ones"):
        load("vit_base_patch32_plus_256", weights="official")


def test_official_weights_come_by_timms_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = use_cache(tmp_path / "cache", monkeypatch)
    with pytest.raises(DownloadError, match="could not be fetched") as caught:
        load("mobilenetv3_small_050", weights="official")
    assert "\n" not in str(caught.value)
    trained = load("mobilenetv3_small_050", seed=7).module.state_dict()
    save_file(trained, tmp_path / "model.safetensors")
    put(cache, timm.get_pretrained_cfg("mobilenetv3_small_050").hf_hub_id, [tmp_path / "model.safetensors"])
    net = ls.load("timm:mobilenetv3_small_050", weights="official", device="cpu")
    assert all(torch.equal(tensor, trained[key]) for key, tensor in net.module.state_dict().items())
    assert net.weights.summary == "timm's pretrained weights"


def test_a_file_of_timm_fits(tmp_path: Path) -> None:
    trained = load("resnet18", seed=5).module.state_dict()
    save_file(trained, tmp_path / "model.safetensors")
    net = ls.load("timm:resnet18", weights=tmp_path / "model.safetensors", device="cpu")
    assert all(torch.equal(tensor, trained[key]) for key, tensor in net.module.state_dict().items())


def test_lists_of_modules_which_are_never_called_are_no_stages() -> None:
    net = load("coat_lite_tiny", size=64)
    assert "serial_blocks1" in {entry["module"] for entry in net.module.feature_info}
    maps = ls.capture(net, noise(64, 64))
    assert [layer.partition(":")[0] for layer in maps] == list(net.stages)
