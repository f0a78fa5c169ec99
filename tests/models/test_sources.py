"""Source strings and weights to networks, with real files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import layerscope as ls
from layerscope.errors import LayerscopeWarning, OptionError, SourceError, WeightsError, WeightsMismatchError
from layerscope.models.darknet import write_weights
from layerscope.models.seeded import seeded_tensor
from layerscope.models.yolov3 import YOLOv3

if TYPE_CHECKING:
    from pathlib import Path

SEED1_SHA256 = "fea8b0b70fb01389daa90d1ebf53ea93f35d1f71be838be60f34d595864bb56b"


@pytest.fixture(scope="session")
def seed1(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference's own pseudo-random yolov3.weights, written by its script."""
    path = tmp_path_factory.mktemp("weights") / "seed1.weights"
    script, cfg = shared_data / "reference/seeded_weights.py", shared_data / "cfg/yolov3.cfg"
    subprocess.run([sys.executable, str(script), str(cfg), "1", str(path)], check=True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SEED1_SHA256
    return path


def small_weights(path: Path, classes: int) -> YOLOv3:
    """Write a .weights file of the real network; return the network."""
    with torch.device("meta"):
        net = YOLOv3(classes)
    state = {key: torch.zeros(value.shape) for key, value in net.state_dict().items()}
    write_weights(path, net.slots, state)
    return net


def test_yolov3_and_its_cfg_give_the_references_layers_and_the_same_outputs(seed1: Path, shared_data: Path) -> None:
    reference = np.load(shared_data / "reference/yolov3__dog__seed1.npz")
    x = torch.from_numpy(reference["input_uint8"].astype(np.float32) / 255).permute(2, 0, 1)[None]
    own = ls.load("yolov3", weights=seed1, size=96)
    cfg = ls.load(f"darknet:{shared_data / 'cfg/yolov3.cfg'}", weights=seed1, size=96)
    outputs = own.outputs(x)
    assert all(torch.equal(one, other) for one, other in zip(outputs, cfg.outputs(x), strict=True))
    for section, output in zip((81, 93, 105), outputs, strict=True):
        expected = reference[f"head_{section}"]
        assert np.abs(output[0].numpy() - expected).max() <= 1e-3 * np.abs(expected).max()
    with torch.no_grad(), ls.tap(own.module, list(own.stages)) as tape:
        own.module(x)
    for stage, section in zip(own.stages, (4, 11, 36, 61, 74), strict=True):
        expected = reference[f"layer_{section}"]
        assert np.abs(tape[stage][0].numpy() - expected).max() <= 1e-3 * np.abs(expected).max(), stage
    assert cfg.stages == ("4_shortcut", "11_shortcut", "36_shortcut", "61_shortcut", "74_shortcut")


def test_darknet53_is_its_cfg(seed1: Path, shared_data: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.weights"
    own = ls.load("darknet53", seed=3, device="cpu")
    write_weights(cut, own.module.slots, own.module.state_dict())
    cfg = ls.load(f"darknet:{shared_data / 'cfg/darknet53.cfg'}", weights=cut, size=64)
    x = torch.rand(1, 3, 64, 64)
    (one,), (other,) = own.outputs(x), cfg.outputs(x)
    assert one.shape == (1, 1000)
    assert torch.allclose(one.flatten(), other.flatten(), atol=1e-7)
    assert one.sum() == pytest.approx(1, abs=1e-5)
    assert len(own.stages) == len(cfg.stages) == 5
    assert seed1


test_darknet53_is_its_cfg = pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")(
    test_darknet53_is_its_cfg
)


@pytest.mark.parametrize("classes", [1, 80, 500])
def test_the_number_of_classes_is_read_off_the_weights(tmp_path: Path, classes: int) -> None:
    path = tmp_path / "no.ending"
    net = small_weights(path, classes)
    loaded = ls.load("yolov3", weights=path)
    assert len(loaded.names) == loaded.module.classes == classes
    torch.save({key: torch.zeros(value.shape) for key, value in net.state_dict().items()}, path)
    assert ls.load("yolov3", weights=path).module.classes == classes
    assert [output.shape[1] for output in loaded.outputs(torch.zeros(1, 3, 32, 32))] == [3 * (5 + classes)] * 3


def test_a_file_of_the_backbone_alone_fills_it_and_says_so(seed1: Path, tmp_path: Path) -> None:
    net = YOLOv3(80)
    numbers = sum(net.state_dict()[key].numel() for slot in net.slots[:52] for key in slot.keys)
    path = tmp_path / "darknet53.conv.74"
    path.write_bytes(seed1.read_bytes()[: 20 + 4 * numbers])
    with pytest.warns(LayerscopeWarning, match=r"260 of 366 tensors, the rest random"):
        part = ls.load("yolov3", weights=path, classes=80)
    whole = ls.load("yolov3", weights=seed1)
    for key, value in whole.module.state_dict().items():
        same = torch.equal(value, part.module.state_dict()[key])
        assert same == (key.startswith("backbone") or key.endswith("num_batches_tracked")), key


def test_damaged_and_foreign_weights_are_refused_in_one_line(seed1: Path, shared_data: Path, tmp_path: Path) -> None:
    data = seed1.read_bytes()
    other = shared_data / "darknet/yolo-fastest-1.1.weights"
    for name, content, match in (
        ("cut", data[: 20 + 4 * 1000], "ends"),
        ("odd", data[:-3], "ends|bytes"),
        ("more", data + b"\0" * 40, "left|more"),
        ("empty", b"", "empty"),
        ("header", data[:10], "header|short|neither"),
        ("foreign", other.read_bytes(), "ends|fit|left"),
        ("text", b"<!DOCTYPE html><html>not found</html>", "text file"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n" + b" " * 20, "git lfs pull"),
        ("noise", bytes(range(255, 0, -1)) * 9, "neither|header"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=match) as caught:
            ls.load("yolov3", weights=path)
        assert "\n" not in str(caught.value), name
        assert str(path) in str(caught.value), name
    with pytest.raises(WeightsError, match="no such weights file"):
        ls.load("yolov3", weights=tmp_path / "missing")
    with pytest.raises(WeightsError, match="cannot be read"):
        ls.load("yolov3", weights=tmp_path)


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_partial_takes_what_fits_and_says_how_much(tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    net = YOLOv3(3)
    state = {key: value for key, value in net.state_dict().items() if not key.startswith("head8")}
    torch.save(state | {"stray": torch.zeros(1)}, path)
    with pytest.raises(WeightsMismatchError, match=r"7 missing .*; 1 left over \(stray\)"):
        ls.load("yolov3", weights=path)
    loaded = ls.load("yolov3", weights=path, partial=True)
    assert (loaded.weights.taken, loaded.weights.total) == (359, 366)
    assert loaded.weights.seed == 0
    key = "head8.predict.bias"
    assert torch.equal(loaded.module.state_dict()[key], seeded_tensor(key, (24,), 0))
    assert torch.equal(loaded.module.state_dict()["head16.predict.bias"], state["head16.predict.bias"])
    torch.save({"nothing": torch.zeros(1)}, path)
    with pytest.raises(WeightsMismatchError, match="none that Layerscope knows"):
        ls.load("yolov3", weights=path, partial=True)


def test_each_naming_brings_its_epsilon_and_an_option_overrides_it(shared_data: Path, tmp_path: Path) -> None:
    convolutions = json.loads((shared_data / "checkpoint-naming.json").read_text())["convolutions"]
    for family, eps in (("E_mmdetection", 1e-5), ("C_ultralytics_v7_v8", 1e-4), ("D_ultralytics_yaml_v9", 1e-3)):
        state = {}
        for entry in convolutions:
            names, shape = entry["keys"][family], entry["weight_shape"]
            state[f"{names['conv']}.weight"] = torch.zeros(1).expand(shape)
            if not entry["batch_norm"]:
                state[f"{names['conv']}.bias"] = torch.zeros(shape[0])
            else:
                for part in ("weight", "bias", "running_mean", "running_var"):
                    state[f"{names['bn']}.{part}"] = torch.zeros(shape[0])
        path = tmp_path / f"{family}.pth"
        torch.save({"state_dict": state}, path)
        for given, expected in ((None, eps), (0.5, 0.5)):
            net = ls.load("yolov3", weights=path, bn_eps=given)
            square = family.startswith("D")
            assert {(head.sizes, head.scale_x_y) for head in net.heads} == {("square", 2.0) if square else ("exp", 1.0)}
            found = {part.eps for part in net.module.modules() if isinstance(part, torch.nn.BatchNorm2d)}
            assert found == {expected}
            assert net.weights.bn_eps == expected


def test_a_cfg_takes_checkpoints_of_the_darknet_namings(shared_data: Path, tmp_path: Path) -> None:
    cfg = f"darknet:{shared_data / 'darknet/yolo-fastest-1.1.cfg'}"
    net = ls.load(cfg, weights=shared_data / "darknet/yolo-fastest-1.1.weights")
    state = {}
    for slot in net.module.slots:
        for key in [f"{slot.conv}.weight"] + ([] if slot.norm else [f"{slot.conv}.bias"]):
            state[f"module_list.{slot.section}.Conv2d.{key.rsplit('.', 1)[1]}"] = net.module.state_dict()[key]
        if slot.norm:
            for part in ("weight", "bias", "running_mean", "running_var"):
                state[f"module_list.{slot.section}.BatchNorm2d.{part}"] = net.module.state_dict()[f"{slot.norm}.{part}"]
    path = tmp_path / "best.pt"
    torch.save({"model": state, "epoch": 1}, path)
    other = ls.load(cfg, weights=path, bn_eps=1e-5)
    x = torch.rand(1, 3, 320, 320)
    assert all(torch.equal(one, two) for one, two in zip(net.outputs(x), other.outputs(x), strict=True))


def test_weights_are_mapped_not_copied(seed1: Path) -> None:
    """Of 248 MB of weights, next to nothing may become memory of the process's own."""
    script = f"""
import layerscope as ls, torch
ls.load; import layerscope.models
def own_mb():
    return int(next(line for line in open('/proc/self/status') if line.startswith('RssAnon')).split()[1]) / 1024
before = own_mb()
net = ls.load('yolov3', weights={str(seed1)!r}, device='cpu')
total = sum(value.double().sum().item() for value in net.module.state_dict().values() if value.numel() < 5000)
print(own_mb() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 60


def test_changing_a_loaded_network_never_changes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.weights"
    small_weights(path, 1)
    before = path.read_bytes()
    net = ls.load("yolov3", weights=path)
    with torch.no_grad():
        for parameter in net.module.parameters():
            parameter.add_(1)
    del net
    assert path.read_bytes() == before


def test_without_weights_they_are_seeded_with_a_warning_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.warns(LayerscopeWarning, match=r"yolov3: seeded random weights \(seed 4\), nothing trained"):
        net = ls.load("yolov3", seed=4, classes=2)
    assert torch.equal(torch.rand(3), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        same, other = ls.load("yolov3", seed=4, classes=2), ls.load("yolov3", seed=5, classes=2)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(net.outputs(x)[0], same.outputs(x)[0])
    assert not torch.equal(net.outputs(x)[0], other.outputs(x)[0])
    assert 1e-3 < net.outputs(x)[0].std() < 1e3, "random maps must neither vanish nor explode"
    assert not net.module.training


@pytest.mark.parametrize(
    ("source", "options", "error", "match"),
    [
        ("yolo3", {}, SourceError, "did you mean 'yolov3'"),
        ("", {}, SourceError, "no network is called"),
        ("yolov3:x.cfg", {}, SourceError, "takes nothing after a colon"),
        ("darknet:", {}, SourceError, "wants a configuration file"),
        ("darknet:missing.cfg", {}, SourceError, "missing.cfg"),
        ("yolov3", {"size": 400}, OptionError, "multiples of 32, such as 384x384|416x416"),
        ("yolov3", {"size": (416, 0)}, OptionError, "size"),
        ("yolov3", {"device": "abacus"}, OptionError, "abacus"),
        ("yolov3", {"resize": "letterboxed"}, OptionError, "did you mean 'letterbox'"),
        ("darknet53", {"weights": "official"}, OptionError, "official weights"),
        ("yolov3", {"classes": 0}, OptionError, "classes"),
    ],
)
@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_wrong_sources_and_options_are_refused(source: str, options: dict, error: type, match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        ls.load(source, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_names_come_from_the_number_of_classes_or_a_file(tmp_path: Path, shared_data: Path) -> None:
    coco = ls.load("yolov3").names
    assert coco == tuple((shared_data / "cfg/coco.names").read_text().split("\n")[:80])
    voc = ls.load("yolov3", classes=20).names
    assert voc == tuple((shared_data / "cfg/voc.names").read_text().split())
    path = tmp_path / "two.names"
    path.write_text("ring\n\nred square\n")
    assert ls.load("yolov3", classes=2, names=path).names == ("ring", "red square")
    with pytest.raises(OptionError, match="names 2 classes, the network has 3"):
        ls.load("yolov3", classes=3, names=path)


@pytest.mark.filterwarnings("ignore::layerscope.LayerscopeWarning")
def test_heads_may_have_different_numbers_of_classes(tmp_path: Path) -> None:
    head = (
        "[convolutional]\nfilters={}\nsize=1\nactivation=linear\n\n[yolo]\nmask=0\nanchors=8,8\nnum=1\nclasses={}\n\n"
    )
    trunk = "[net]\nwidth=32\nheight=32\nchannels=3\n\n[convolutional]\nfilters=4\nsize=3\nstride=8\npad=1\n\n"
    path = tmp_path / "two.cfg"
    path.write_text(trunk + head.format(7, 2) + "[route]\nlayers=0\n\n" + head.format(9, 4))
    net = ls.load(f"darknet:{path}", device="cpu")
    assert len(net.names) == 4
    boxes = ls.detect(net, np.zeros((32, 32, 3), np.uint8), score=0.0)
    assert {box.label for box in boxes} <= set(net.names)
