"""The network that ships inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import layerscope as ls
from layerscope.errors import OptionError, WeightsMismatchError
from layerscope.inputs.find import SCENES
from layerscope.models.demo import DEMO_WEIGHTS, read_architecture
from layerscope.models.yolov3 import YOLOv3

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_BYTES = 2_000_000


def test_it_is_the_yolov3_module_with_other_widths_and_small() -> None:
    net = ls.load("demo", device="cpu")
    assert type(net.module) is YOLOv3
    assert DEMO_WEIGHTS.stat().st_size <= LARGEST_BYTES
    assert net.stages == tuple(f"backbone.block{n}" for n in range(1, 6))
    assert len(net.names) == net.heads[0].classes == 8
    assert net.weights.seed is None, "nothing of it is random"


def test_its_weights_are_the_files_whatever_the_seed() -> None:
    state = load_file(DEMO_WEIGHTS)
    for seed in (0, 7):
        for name, tensor in ls.load("demo", device="cpu", seed=seed).module.state_dict().items():
            assert torch.equal(tensor, state[name].to(tensor.dtype)), name


def test_it_finds_what_stands_on_the_scenes_that_ship() -> None:
    net = ls.load("demo", device="cpu")
    labels = {path.stem: {box.label for box in ls.detect(net, path, score=0.5)} for path in SCENES.iterdir()}
    assert labels["scene10"] == {"cross", "ring", "square", "star", "triangle"}
    assert {"arrow", "disc", "star"} <= labels["scene0"]
    assert {"arrow", "cross", "ring", "star"} <= labels["scene7"]


def test_other_weights_of_its_kind_say_how_they_are_built(tmp_path: Path) -> None:
    with safe_open(DEMO_WEIGHTS, framework="pt") as stored:
        metadata = dict(stored.metadata())
    other = YOLOv3(2, widths=(4, 8, 8, 16, 16, 32), blocks=(1, 1, 1, 1, 1))
    metadata |= {"widths": "4,8,8,16,16,32", "blocks": "1,1,1,1,1", "classes": "left,right"}
    save_file(other.state_dict(), tmp_path / "own.safetensors", metadata=metadata)
    net = ls.load("demo", weights=tmp_path / "own.safetensors", device="cpu")
    assert net.names == ("left", "right")
    assert torch.equal(net.module.get_parameter("head8.predict.bias"), other.get_parameter("head8.predict.bias"))
    save_file(other.state_dict(), tmp_path / "silent.safetensors")
    assert read_architecture(tmp_path / "silent.safetensors") is None
    with pytest.raises(WeightsMismatchError, match="186 of another shape"):
        ls.load("demo", weights=tmp_path / "silent.safetensors")


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(OptionError, match="demo has 8"):
        ls.load("demo", classes=3)


def test_without_pictures_the_scenes_are_taken() -> None:
    run = ls.run(ls.load("demo", device="cpu"), write=["sheets"], layers="backbone.block5")
    assert list(run) == ["scene0", "scene7", "scene10"]
    assert np.asarray(run["scene7"]["backbone.block5"].picture("sheets")).std() > 10
