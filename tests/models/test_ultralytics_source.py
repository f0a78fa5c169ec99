"""Networks of Ultralytics as sources."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import layerscope as ls
from layerscope.errors import LayerscopeWarning, OptionError, SourceError, UnsafeWeightsError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("ultralytics")

SHAPES = [(96, 128), (333, 250), (37, 201), (480, 640)]
ROUNDED_UP = pytest.param((37, 201), marks=pytest.mark.xfail(reason="letterbox cuts lengths, Ultralytics rounds them"))


def load(name: str, **options: Any) -> ls.Network:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        return ls.load(f"ultralytics:{name}", device="cpu", **options)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(96, 128), (333, 250), ROUNDED_UP, (480, 640)])
def test_a_picture_is_letterboxed_as_by_ultralytics(shape: tuple[int, int]) -> None:
    from ultralytics.data.augment import LetterBox

    pixels = noise(*shape)
    expected = LetterBox((640, 640), auto=False)(image=pixels)
    x, _ = load("yolov8n.yaml").prepare(pixels)
    assert np.array_equal((x[0].permute(1, 2, 0).numpy() * 255).round(), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_is_cut_for_a_classifier_as_by_ultralytics(shape: tuple[int, int]) -> None:
    from ultralytics.data.augment import classify_transforms

    pixels = noise(*shape)
    x, _ = load("yolov8n-cls.yaml").prepare(pixels)
    assert torch.allclose(x[0], classify_transforms(224)(Image.fromarray(pixels)), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["yolov8n.yaml", "yolo11n-seg.yaml", "yolov8n-pose.yaml", "yolo11n-obb.yaml", "yolo11n-cls.yaml"]
)
def test_the_promises_of_capture_hold_for_every_task(name: str) -> None:
    found = ls.check(load(name, size=64))
    assert found.passed, found.rows


def test_layers_are_what_ultralytics_own_forward_gives() -> None:
    net = load("yolo11n.yaml", size=64)
    picture = noise(64, 64)
    x, _ = net.prepare(picture)
    maps = ls.capture(net, picture)
    assert list(maps) == ["model.0", "model.2", "model.4", "model.6", "model.10"]
    with torch.no_grad():
        for number, part in enumerate(net.module.model[:11]):  # a plain chain up to the neck
            x = part(x)
            if f"model.{number}" in maps:
                assert torch.equal(maps[f"model.{number}"].values, x[0])


def test_nothing_is_said_and_the_environment_is_as_it_was(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)  # Ultralytics sets it
    load("yolov8n.yaml")  # imported by now
    before = dict(os.environ)
    capfd.readouterr()
    load("yolov8.yaml")  # it would warn that no scale is given
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before
    assert logging.root.manager.disable == logging.NOTSET


SPEAKS = """
import warnings
import layerscope as ls
warnings.simplefilter("ignore")
ls.load("ultralytics:yolov8n.yaml")
from ultralytics import YOLO
YOLO("yolov8.yaml")
"""


def test_ultralytics_speaks_again_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", SPEAKS], capture_output=True, text=True, check=True)
    assert "scale" in done.stdout
    assert done.stderr == ""


def test_a_state_dict_goes_into_the_architecture(tmp_path: Path) -> None:
    trained = load("yolov8n.yaml", seed=5, classes=3).module.state_dict()
    torch.save(trained, tmp_path / "w.pth")
    net = ls.load("ultralytics:yolov8n.yaml", weights=tmp_path / "w.pth", classes=3, device="cpu")
    assert all(torch.equal(tensor, trained[key]) for key, tensor in net.module.state_dict().items())
    assert net.names == ("class 0", "class 1", "class 2")


def test_first_weights_are_drawn_by_the_seed() -> None:
    one, same, other = (load("yolov8n.yaml", seed=seed).module.model[0].conv.weight for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_saved_network_is_a_pickle_and_needs_trust(tmp_path: Path) -> None:
    trained = load("yolov8n.yaml", seed=5).module
    trained.names = {0: "cat", 1: "dog"} | {index: f"thing {index}" for index in range(2, 80)}
    trained.args = {"imgsz": 128}
    trained.task = "detect"
    torch.save({"model": trained.half(), "ema": None, "train_args": {"imgsz": 128}}, tmp_path / "best.pt")
    with pytest.raises(UnsafeWeightsError, match=r"--trust-pickle \(trust_pickle=True\)") as caught:
        load(str(tmp_path / "best.pt"))
    assert "ultralytics:best.yaml" in str(caught.value)
    net = ls.load(f"ultralytics:{tmp_path / 'best.pt'}", trust_pickle=True, device="cpu")
    expected = trained.state_dict()
    assert all(torch.equal(tensor, expected[key].float()) for key, tensor in net.module.state_dict().items())
    assert (net.names[:2], net.preparation.size_hw) == (("cat", "dog"), (128, 128))
    assert net.weights.summary == "best.pt (Ultralytics)"
    with pytest.raises(OptionError, match="has 80"):
        load(str(tmp_path / "best.pt"), trust_pickle=True, classes=3)


def test_sizes_are_multiples_of_the_largest_stride() -> None:
    with pytest.raises(OptionError, match=r"takes multiples of 32, such as 96x96"):
        load("yolov8n.yaml", size=100)
    with pytest.raises(OptionError, match="takes multiples of 64"):
        load("yolov8n-p6.yaml", size=96)
    assert load("yolov8n-cls.yaml", size=50).preparation.size_hw == (50, 50)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolov8n", "expected an architecture"),
        ("none.pt", "no such file; the architecture alone is ultralytics:none.yaml"),
        ("yolo99n.yaml", "cannot be built"),
        ("https://host/yolo.yaml", "expected an architecture"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_fetched(name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="no official ones"):
        load("yolov8n.yaml", weights="official")


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_pictures_are_opened_afterwards_as_before() -> None:
    opened = Image.open
    ls.load("ultralytics:yolov8n-cls.yaml", device="cpu", size=64)
    assert Image.open is opened
