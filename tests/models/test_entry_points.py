"""Sources that other packages add, by the very example that the documents show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import layerscope as ls
from documented_package import lay_down
from layerscope.errors import LayerscopeWarning, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sources.md"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented package, as an installer would lay it down."""
    name = lay_down(PAGE, "def load", tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


@pytest.mark.usefixtures("installed")
def test_the_documented_package_adds_a_source() -> None:
    with pytest.warns(LayerscopeWarning, match="toynets:small: seeded random weights"):
        net = ls.load("toynets:small", device="cpu", seed=4)
    assert net.preparation.mean == (0.5, 0.5, 0.5)
    assert net.names == ("cat", "dog")
    maps = ls.capture(net, np.zeros((80, 80, 3), np.uint8))
    assert [one.channels for one in maps.values()] == [8, 16]
    assert ls.check(net).passed


@pytest.mark.usefixtures("installed")
def test_it_is_named_among_the_choices() -> None:
    with pytest.raises(SourceError, match=r"toynets.*did you mean 'toynets'"):
        ls.load("toynet")


def test_without_it_there_is_no_such_source() -> None:
    with pytest.raises(SourceError, match="no network is called 'toynets:small'"):
        ls.load("toynets:small")
