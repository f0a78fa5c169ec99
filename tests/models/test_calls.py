"""How often layers run: what own networks say without trying, beside plain hooks on a real forward."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import layerscope as ls

if TYPE_CHECKING:
    from pathlib import Path

OWN = ["demo", "darknet53", "yolov3"]
CFGS = ["yolov3-spp.cfg", "yolov3-tiny.cfg", "yolov4-tiny.cfg", "yolov4.cfg", "darknet53.cfg"]


def assert_modules_run_once(net: ls.Network) -> None:
    ran: Counter[str] = Counter()
    for name, part in net.module.named_modules(remove_duplicate=False):
        if name:
            part.register_forward_hook(lambda _m, _i, _o, name=name: ran.update([name]))
    net.outputs(torch.zeros(1, 3, *net.preparation.size_hw))
    assert net.runs_once
    assert ran
    assert set(ran.values()) == {1}
    calls = net.calls(net.preparation.size_hw)
    assert calls is not None
    assert {name: calls[name] for name in ran} == ran
    assert all(calls[f"{name}@in"] == 1 for name in ran)


@pytest.mark.filterwarnings("ignore::layerscope.LayerscopeWarning")
@pytest.mark.parametrize("source", OWN)
def test_modules_of_own_networks_run_once(source: str) -> None:
    assert_modules_run_once(ls.load(source, device="cpu", size=64))


@pytest.mark.filterwarnings("ignore::layerscope.LayerscopeWarning")
@pytest.mark.parametrize("cfg", CFGS)
def test_modules_of_darknet_networks_run_once(shared_data: Path, cfg: str) -> None:
    assert_modules_run_once(ls.load(f"darknet:{shared_data / 'cfg' / cfg}", device="cpu", size=64))


def test_a_forward_ends_early_without_pytorchs_compiler_being_imported() -> None:
    code = """
import sys
import numpy as np
import layerscope as ls

net = ls.load("demo", device="cpu", size=64)
ran = []
net.module.neck.register_forward_hook(lambda *_: ran.append(1))
ls.capture(net, np.zeros((64, 64, 3), np.uint8))
assert not ran, "the forward went on behind the last stage"
assert "torch._dynamo" not in sys.modules and "sympy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_operations_end_the_forward_too() -> None:
    net = ls.load("demo", device="cpu", size=64)
    ran: list[int] = []
    net.module.neck.register_forward_hook(lambda *_: ran.append(1))
    picture = np.zeros((64, 64, 3), np.uint8)
    maps = ls.capture(net, picture, layers="backbone.block1.residual0.add")
    assert list(maps) == ["backbone.block1.residual0.add"]
    assert not ran
