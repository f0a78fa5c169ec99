"""Networks of torchvision as sources."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import layerscope as ls
from layerscope.errors import DownloadError, LayerscopeWarning, OptionError, SourceError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torchvision")

from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

SHAPES = [(96, 128), (128, 96), (300, 200), (37, 201), (481, 640), (256, 256)]


def load(name: str, **options: Any) -> ls.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        return ls.load(f"torchvision:{name}", device="cpu", **options)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def small() -> ls.Network:
    return load("mobilenet_v3_small")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_is_prepared_as_by_torchvisions_own_transforms(small: ls.Network, shape: tuple[int, int]) -> None:
    pixels = noise(*shape)
    expected = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()(Image.fromarray(pixels))
    x, _ = small.prepare(pixels)
    assert torch.allclose(x[0], expected, atol=1e-5), "one level of 255 would be 0.017"


@pytest.mark.parametrize(("name", "weights"), [("swin_t", "Swin_T"), ("inception_v3", "Inception_V3")])
def test_size_filter_and_crop_are_the_networks_own(name: str, weights: str) -> None:
    pixels = noise(350, 420)
    expected = getattr(models, f"{weights}_Weights").DEFAULT.transforms()(Image.fromarray(pixels))
    x, _ = load(name).prepare(pixels)
    assert torch.allclose(x[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"size": 64}),
        ("swin_t", {"size": 64}),
        ("ssdlite320_mobilenet_v3_large", {}),
        ("lraspp_mobilenet_v3_large", {"size": 64}),
        ("r3d_18", {"size": 32, "arguments": {"frames": 4}}),
        ("quantized_mobilenet_v2", {"size": 64}),
    ],
)
def test_the_promises_of_capture_hold(name: str, options: dict[str, Any]) -> None:
    found = ls.check(load(name, **options))
    assert found.passed, found.rows


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="no quantised arithmetic here")
def test_the_promises_hold_in_whole_numbers() -> None:
    net = load("quantized_resnet18", size=64, arguments={"quantize": True})
    assert net.module.conv1.weight().dtype == torch.qint8
    found = ls.check(net)
    assert found.passed, found.rows


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("vit_b_16", 32)])
def test_layers_are_what_torchvisions_feature_extractor_gives(name: str, size: int) -> None:
    net = load(name, size=size)
    wanted = {"resnet18": ["layer1", "layer2.0", "layer4", "avgpool"]}.get(
        name, ["conv_proj", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_11.mlp", "encoder.ln"]
    )
    picture = noise(size, size)
    x, _ = net.prepare(picture)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = create_feature_extractor(net.module, wanted)(x)
    maps = ls.capture(net, picture, layers=wanted)
    assert list(maps) == wanted
    for layer in wanted:
        assert torch.equal(maps[layer].values, expected[layer][0]), layer


def test_a_vision_transformers_tokens_lie_on_their_grid() -> None:
    net = load("vit_b_16", size=(64, 64))
    maps = ls.capture(net, noise(64, 64), layers="encoder.ln")["encoder.ln"]
    assert (maps.axes.cells, maps.axes.apart) == ((4, 4), 1)
    assert torch.equal(maps.maps, maps.values[1:].T.reshape(768, 4, 4))
    assert torch.equal(maps.apart, maps.values[:1])


def test_a_swin_transformers_maps_have_their_channels_first() -> None:
    net = load("swin_t", size=64)
    maps = ls.capture(net, noise(64, 64), layers="features.1")["features.1"]
    assert tuple(maps.values.shape) == (16, 16, 96)
    assert torch.equal(maps.maps, maps.values.permute(2, 0, 1))


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_a_detector_neither_resizes_nor_pads(size: tuple[int, int]) -> None:
    net = load("fasterrcnn_mobilenet_v3_large_320_fpn", size=size)
    x, _ = net.prepare(noise(50, 70))
    seen = []
    net.module.transform.register_forward_hook(lambda _m, _i, out: seen.append(out[0].tensors))
    net.outputs(x)
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(seen[0], (x - mean) / std, atol=1e-6)
    assert net.names[:2] == ("__background__", "person")


@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_a_detector_of_one_size_is_given_that_size(name: str) -> None:
    net = load(name)
    seen = []
    net.module.transform.register_forward_hook(lambda _m, _i, out: seen.append(out[0].tensors.shape))
    x, _ = net.prepare(noise(50, 70))
    net.outputs(x)
    assert seen == [x.shape]
    with pytest.raises(OptionError, match=f"{name} was built for"):
        net.prepare(noise(50, 70), size=64)


def test_a_picture_stands_still_for_a_video_network() -> None:
    net = load("r3d_18", size=32, arguments={"frames": 3})
    x, _ = net.prepare(noise(40, 40))
    seen = []
    net.module.register_forward_hook(lambda _m, args, _o: seen.append(args[0]))
    net.outputs(x)
    assert torch.equal(seen[0], torch.stack([x[0]] * 3, 1)[None])
    assert len(net.names) == 400


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="takes multiples of 32, such as 64x96"):
        load("retinanet_resnet50_fpn", size=(70, 100))
    with pytest.raises(OptionError, match="squares only"):
        load("vit_b_16", size=(64, 32))
    with pytest.raises(OptionError, match="load it with the size"):
        load("vit_b_16", size=32).prepare(noise(40, 40), size=64)
    with pytest.raises(SourceError, match="cannot be built") as caught:
        load("maxvit_t", size=64)
    assert "\n" not in str(caught.value)


def test_unknown_networks_are_refused_with_the_nearest() -> None:
    with pytest.raises(SourceError, match="no network 'resnet19'; did you mean"):
        load("resnet19")
    with pytest.raises(SourceError, match="takes two pictures"):
        load("raft_small")
    with pytest.raises(SourceError, match="unexpected keyword argument 'depth'"):
        load("resnet18", arguments={"depth": 3})


def test_first_weights_are_drawn_by_the_seed_and_say_how_to_get_trained_ones() -> None:
    with pytest.warns(LayerscopeWarning, match="--weights official"):
        one = ls.load("torchvision:squeezenet1_1", seed=3, device="cpu")
    other = load("squeezenet1_1", seed=3)
    for key, tensor in one.module.state_dict().items():
        assert torch.equal(tensor, other.module.state_dict()[key])
    assert not torch.equal(load("squeezenet1_1", seed=4).module.features[0].weight, one.module.features[0].weight)


def test_official_weights_come_by_torchvisions_own_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody is there
    with pytest.raises(DownloadError, match="could not be fetched") as caught:
        load("mobilenet_v3_small", weights="official")
    assert "\n" not in str(caught.value)
    trained = load("mobilenet_v3_small", seed=7).module.state_dict()
    file = tmp_path / "hub" / "checkpoints" / models.MobileNet_V3_Small_Weights.DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(trained, file)
    net = ls.load("torchvision:mobilenet_v3_small", weights="official", device="cpu")
    assert all(torch.equal(tensor, trained[key]) for key, tensor in net.module.state_dict().items())
    assert net.weights.summary == "torchvision's pretrained weights"


def test_files_of_torchvision_fit_with_their_auxiliary_heads(tmp_path: Path) -> None:
    trained = models.googlenet(init_weights=False, aux_logits=True)
    torch.save(trained.state_dict(), tmp_path / "googlenet.pth")
    net = ls.load("torchvision:googlenet", weights=tmp_path / "googlenet.pth", device="cpu")
    assert net.module.transform_input, "as torchvision sets it beside its weights"
    for aux in (False, True):
        segmenter = models.segmentation.deeplabv3_mobilenet_v3_large(weights_backbone=None, aux_loss=aux, num_classes=4)
        torch.save(segmenter.state_dict(), tmp_path / "deeplab.pth")
        net = ls.load(
            "torchvision:deeplabv3_mobilenet_v3_large", weights=tmp_path / "deeplab.pth", classes=4, device="cpu"
        )
        assert (net.module.aux_classifier is not None) == aux
        assert net.names == ("class 0", "class 1", "class 2", "class 3")
