"""What tests of every part share: the reference data beside the project, and small networks and pictures."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import layerscope as ls

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real networks and pictures; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the reference data in ../shared/data beside the project, which is not there")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own, so that nothing is written into the project."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def photo() -> np.ndarray:
    """A picture with structure at every size: (96, 128, 3) uint8 RGB."""
    y, x = np.mgrid[:96, :128]
    red = 127 + 127 * np.sin(x / 7)
    green = 2 * y
    blue = 255 * ((x // 16 + y // 16) % 2)
    return np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8)


class Nasty(nn.Module):
    """Everything that breaks a naive hook, in one small network of (N, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)  # overwrites what norm gave, and runs twice
        self.branch = nn.Conv2d(4, 4, 1)
        self.split = Split()  # gives a tuple
        self.named = Named()  # gives a dict with something that is no tensor
        self.never = nn.Conv2d(4, 4, 1)  # never called
        self.parts = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Sigmoid()])  # only its parts are
        self.pieces = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())  # only sliced
        self.nothing = Nothing()  # gives None

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        out = self.branch(x)
        out += x  # overwrites what branch gave
        out = self.relu(out)
        first, second = self.split(out)
        kept = self.named(second)["kept"]
        self.nothing(kept)
        for part in self.parts:
            kept = part(kept)
        for piece in self.pieces[:2]:
            kept = piece(kept)
        return first + kept


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x - 1


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, object]:
        return {"kept": x + 1, "words": "no tensor", "nested": (x * 3, None)}


class Nothing(nn.Module):
    def forward(self, _x: Tensor) -> None:
        return None


@pytest.fixture
def nasty() -> Nasty:
    torch.manual_seed(0)
    return Nasty().eval()


TINY_CFG = """\
[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky

[shortcut]
from=-2
activation=linear

[convolutional]
batch_normalize=1
filters=6
size=3
stride=2
pad=1
activation=relu

[convolutional]
batch_normalize=1
filters=6
size=1
stride=1
activation=linear

[shortcut]
from=-2
activation=linear

[convolutional]
filters=14
size=1
stride=1
activation=linear

[yolo]
mask=0,1
anchors=8,8, 20,20
classes=2
num=2
"""


@pytest.fixture
def tiny_cfg(tmp_path: Path) -> Path:
    """A small detector: 8 layers, stages 2_shortcut (4 channels) and 5_shortcut (6 channels), two classes."""
    path = tmp_path / "tiny.cfg"
    path.write_text(TINY_CFG)
    return path


@pytest.fixture
def tiny(tiny_cfg: Path) -> ls.Network:
    """The small detector, loaded with seeded weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.LayerscopeWarning)
        return ls.load(f"darknet:{tiny_cfg}", device="cpu")
