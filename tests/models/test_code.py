"""Networks of the user's own code as sources."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import layerscope as ls
from layerscope.errors import OptionError, SourceError, WeightsMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = """
import torch
from torch import nn
from helper_of_net import WIDTH

class Net(nn.Module):
    def __init__(self, width=WIDTH, name="plain"):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.act = nn.ReLU()
        self.down = nn.Conv2d(width, 5, 3, stride=2, padding=1)
        self.name = name

    def forward(self, x):
        return self.down(self.act(self.conv(x)))

ready = Net()
nested = type("Names", (), {"build": staticmethod(Net)})

def fails():
    raise ValueError("no such\\nbackbone")

def nothing():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before, path = set(sys.modules), list(sys.path)
    home = tmp_path / "own"
    home.mkdir()
    (home / "helper_of_net.py").write_text("WIDTH = 6\n")
    (home / "net.py").write_text(CODE)
    yield home
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.path[:] = path


def test_a_class_is_built_with_its_arguments_seeded(folder: Path) -> None:
    state = torch.random.get_rng_state()
    net = ls.load(f"{folder / 'net.py'}:Net", arguments={"width": 4}, seed=3, device="cpu")
    assert torch.equal(state, torch.random.get_rng_state())
    assert net.module.conv.out_channels == 4
    assert not net.module.training
    again = ls.load(f"{folder / 'net.py'}:Net", arguments={"width": 4}, seed=3, device="cpu")
    assert torch.equal(net.module.conv.weight, again.module.conv.weight)
    assert net.stages == ("act", "down")
    maps = ls.capture(net, np.zeros((50, 60, 3), np.uint8), size=64)
    assert {name: tuple(one.values.shape) for name, one in maps.items()} == {"act": (4, 32, 32), "down": (5, 16, 16)}


def test_a_ready_module_and_a_dotted_name_are_taken(folder: Path) -> None:
    assert ls.load(f"{folder / 'net.py'}:ready", device="cpu").module.conv.out_channels == 6
    assert ls.load(f"{folder / 'net.py'}:nested.build", device="cpu").module.conv.out_channels == 6
    with pytest.raises(OptionError, match="takes none, got width"):
        ls.load(f"{folder / 'net.py'}:ready", arguments={"width": 3})


def test_weights_are_loaded_and_refused_as_everywhere(folder: Path, tmp_path: Path) -> None:
    source = f"{folder / 'net.py'}:Net"
    trained = ls.load(source, seed=1, device="cpu").module.state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in trained.items()}}, tmp_path / "w.pth")
    net = ls.load(source, weights=tmp_path / "w.pth", device="cpu")
    assert all(torch.equal(tensor, trained[name]) for name, tensor in net.module.state_dict().items())
    assert "w.pth" in net.weights.summary
    with pytest.raises(WeightsMismatchError):
        ls.load(source, weights=tmp_path / "w.pth", arguments={"width": 3})
    with pytest.raises(OptionError, match="no official ones"):
        ls.load(source, weights="official")


def test_a_package_is_imported_from_the_current_folder(tmp_path: Path, folder: Path) -> None:
    package = tmp_path / "pack_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("from torch import nn\n\ndef build(n=2):\n    return nn.Conv2d(3, n, 1)\n")
    net = ls.load("pack_of_mine.nets:build", arguments={"n": 7}, device="cpu")
    assert net.module.out_channels == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.py:Nett", "has no 'Nett'; did you mean 'Net'"),
        ("none.py:Net", "no such file"),
        ("net.py:fails", "fails with ValueError: no such backbone, net.py line"),
        ("net.py:nothing", "got a int"),
        ("broken.py:Net", "fails with SyntaxError"),
        ("missing.py:Net", "fails with ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(folder: Path, name: str, message: str) -> None:
    (folder / "broken.py").write_text("def (:\n")
    (folder / "missing.py").write_text("import not_there_at_all\n")
    with pytest.raises(SourceError, match=message) as caught:
        ls.load(str(folder / name))
    assert "\n" not in str(caught.value)


def test_arguments_that_do_not_fit_are_said(folder: Path) -> None:
    with pytest.raises(SourceError, match="unexpected keyword argument 'depth'"):
        ls.load(f"{folder / 'net.py'}:Net", arguments={"depth": 3})
    with pytest.raises(SourceError, match=r"there is no such module; a file is FILE\.py:NAME"):
        ls.load("no_such_pack.nets:build")


def test_a_file_called_like_a_module_in_use_takes_nothings_place(folder: Path) -> None:
    (folder / "json.py").write_text("from torch import nn\nNet = nn.Identity\n")
    import json

    assert isinstance(ls.load(f"{folder / 'json.py'}:Net", device="cpu").module, torch.nn.Identity)
    assert sys.modules["json"] is json
