"""Vision networks of transformers as sources: small random ones, saved as the hub's folders are."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import layerscope as ls
from hub import put, use_cache
from layerscope.errors import DownloadError, LayerscopeWarning, OptionError, SourceError, WeightsMismatchError

if TYPE_CHECKING:
    from pathlib import Path

transformers = pytest.importorskip("transformers")

WIDTH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIDES = {"image_size": 32, "patch_size": 8}
SHAPES = [(96, 128), (333, 250), (37, 201)]


def load(source: object, **options: Any) -> ls.Network:
    return ls.load(f"hf:{source}", device="cpu", **options)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder: Path, module: Any, processor: Any = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.disable_progress_bar()
        module.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    return folder


def vit(**more: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**WIDTH, **SIDES, id2label={0: "cat", 1: "dog", 2: "owl"}, **more)
    return transformers.ViTForImageClassification(config).eval()


def convnext(folder: Path, side: int = 64) -> Path:
    torch.manual_seed(0)
    config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
    processor = transformers.ConvNextImageProcessor(size={"shortest_edge": side}, crop_pct=0.875)
    return save(folder, transformers.ConvNextForImageClassification(config), processor)


def clip(folder: Path) -> Path:
    torch.manual_seed(0)
    words = {**WIDTH, "vocab_size": 99, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = transformers.CLIPConfig(text_config=words, vision_config=WIDTH | SIDES, projection_dim=8)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    return save(folder, transformers.CLIPModel(config), processor)


@pytest.fixture
def vit_folder(tmp_path: Path) -> Path:
    return save(tmp_path / "vit", vit(), transformers.ViTImageProcessor(size={"height": 32, "width": 32}))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["vit", "convnext", "convnext large", "clip"])
def test_a_picture_is_prepared_as_by_the_folders_own_processor(
    tmp_path: Path, vit_folder: Path, kind: str, shape: tuple[int, int]
) -> None:
    if kind.startswith("convnext"):
        folder = convnext(tmp_path / "convnext", 384 if "large" in kind else 64)
    else:
        folder = clip(tmp_path / "clip") if kind == "clip" else vit_folder
    pixels = noise(*shape)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    expected = processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    x, _ = load(folder).prepare(pixels)
    assert x.shape == expected.shape
    level = 1 / 255 / 0.2
    assert (x - expected).abs().max() < level * 1.01, "one level at most"
    assert ((x - expected).abs() > 1e-4).float().mean() < 0.02, "and hardly anywhere"


def test_the_promises_of_capture_hold(tmp_path: Path, vit_folder: Path) -> None:
    for folder in (vit_folder, convnext(tmp_path / "convnext"), clip(tmp_path / "clip")):
        found = ls.check(load(folder))
        assert found.passed, found.rows


def test_layers_are_the_networks_own_hidden_states_and_tokens_lie_on_their_grid(vit_folder: Path) -> None:
    net = load(vit_folder)
    picture = noise(32, 32)
    x, _ = net.prepare(picture)
    with torch.no_grad():
        expected = vit()(pixel_values=x, output_hidden_states=True).hidden_states
    names = [name for name in (layer.name for layer in net.layers()) if name.endswith((".layer.0", ".layers.0"))]
    name = names[0].removesuffix(":0")
    maps = ls.capture(net, picture, layers=name)[name]
    assert torch.equal(maps.values, expected[1][0])
    assert (maps.axes.cells, maps.axes.apart) == ((4, 4), 1)
    assert torch.equal(maps.maps, maps.values[1:].T.reshape(16, 4, 4))
    assert torch.equal(maps.apart, maps.values[:1])
    assert net.names == ("cat", "dog", "owl")
    assert net.weights.summary == "vit (transformers)"


def test_attention_weights_per_head_are_given_on_request(vit_folder: Path) -> None:
    net = load(vit_folder, arguments={"attentions": True})
    picture = noise(32, 32)
    x, _ = net.prepare(picture)
    with torch.no_grad():
        expected = vit(attn_implementation="eager")(pixel_values=x, output_attentions=True).attentions
    name = next(
        name for name, _ in net.module.named_modules() if name.endswith(("0.attention", "0.attention.attention"))
    )
    maps = ls.capture(net, picture, layers=name)
    weights = maps[f"{name}.1"].values
    assert tuple(weights.shape) == (2, 17, 17)
    assert torch.equal(weights, expected[0][0])
    assert [tuple(one.shape) for one in net.outputs(x)] == [(1, 3), (1, 2, 17, 17), (1, 2, 17, 17)]
    assert torch.allclose(weights.sum(-1), torch.ones(2, 17))


def test_another_size_is_taken_where_positions_can_be_fitted(vit_folder: Path) -> None:
    net = load(vit_folder, size=(48, 32))
    x, _ = net.prepare(noise(60, 60))
    with torch.no_grad():
        expected = vit()(pixel_values=x, interpolate_pos_encoding=True).logits
    assert torch.equal(net.outputs(x)[0], expected)


def test_of_pictures_and_words_the_pictures_are_taken(tmp_path: Path) -> None:
    net = load(clip(tmp_path / "clip"))
    maps = ls.capture(net, noise(40, 40), layers="vision_model.encoder.layers.0")
    assert next(iter(maps.values())).axes.cells == (4, 4)
    words = {**WIDTH, "vocab_size": 99}
    folder = save(tmp_path / "bert", transformers.BertModel(transformers.BertConfig(**words)))
    with pytest.raises(SourceError, match="BertModel takes input_ids, no pictures"):
        load(folder)


def test_half_precision_is_taken_to_single(tmp_path: Path) -> None:
    folder = save(tmp_path / "half", vit().to(torch.bfloat16))
    module = load(folder).module
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}
    assert torch.equal(module.classifier.weight, vit().classifier.weight.to(torch.bfloat16).float())


def test_without_weights_they_are_drawn_by_the_seed_and_files_fit(vit_folder: Path, tmp_path: Path) -> None:
    (vit_folder / "model.safetensors").rename(tmp_path / "w.safetensors")
    with pytest.warns(LayerscopeWarning, match="its folder holds none"):
        one = load(vit_folder, seed=3)
    with pytest.warns(LayerscopeWarning):
        same = load(vit_folder, seed=3)
    assert torch.equal(one.module.classifier.weight, same.module.classifier.weight)
    net = load(vit_folder, weights=tmp_path / "w.safetensors")
    assert torch.equal(net.module.classifier.weight, vit().classifier.weight)
    with pytest.raises(
        WeightsMismatchError, match=r"2 of another shape .*: \(3,\) in the file, \(2,\) wanted|\(3, 16\)"
    ):
        load(vit_folder, weights=tmp_path / "w.safetensors", classes=2)
    with pytest.warns(LayerscopeWarning):
        assert load(vit_folder, classes=2).names == ("class 0", "class 1")


def test_a_hubs_name_is_looked_up_in_the_cache_only_unless_official(
    vit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = use_cache(tmp_path / "cache", monkeypatch)
    with pytest.raises(SourceError, match="not in the local cache; --weights official downloads it"):
        load("someone/small-vit")
    with pytest.raises(DownloadError, match="could not be fetched") as caught:
        load("someone/small-vit", weights="official")
    assert "\n" not in str(caught.value)
    put(cache, "someone/small-vit", list(vit_folder.iterdir()))
    assert torch.equal(load("someone/small-vit").module.classifier.weight, vit().classifier.weight)


def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, vit_folder: Path) -> None:
    with pytest.raises(SourceError, match="cannot be built") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="no official ones"):
        load(vit_folder, weights="official")
    assert logging.getLogger("transformers").level == logging.WARNING
