"""Sinks that other packages add, by the very example that the documents show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import layerscope as ls
from documented_package import lay_down
from layerscope.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outputs.md"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented package, as an installer would lay it down."""
    name = lay_down(PAGE, "class Maxima", tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.mark.usefixtures("installed")
def test_the_documented_package_adds_a_kind_of_output() -> None:
    net = ls.load("demo", device="cpu", size=64)
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    run = ls.run(net, picture, layers="backbone.block1", write=["sheets", "maxima"])
    (frame,) = run.values()
    layer = frame["backbone.block1"]
    written = [float(line) for line in (frame.folder / layer.record.files["maxima"]).read_text().split()]
    truth = ls.capture(net, picture, layers="backbone.block1")["backbone.block1"].values.numpy()
    assert written == pytest.approx(truth.max((1, 2)).tolist())
    with pytest.raises(OptionError, match=r"write 'maximum'.*maxima"):
        ls.run(net, picture, write=["maximum"])


def test_without_it_there_is_no_such_kind() -> None:
    with pytest.raises(OptionError, match="write 'maxima': there are tiles"):
        ls.run(ls.load("demo", device="cpu", size=64), np.zeros((8, 8, 3), np.uint8), write=["maxima"])
