"""Operations between modules: found as they run, named by who calls them, told as they were."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import layerscope as ls
from layerscope.errors import LayerError, LayerscopeWarning, UnknownLayerError


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.silu(self.conv(x))
        out += x
        return out


class Net(nn.Module):
    """Functional operations, control flow on values, an operation called like a module."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.Sequential(Block(), Block())
        self.mul = nn.Identity()
        self.seen: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        small = F.max_pool2d(x, 2)
        self.seen["max_pool2d"] = small.clone()
        if small.sum() > -1e9:
            x = torch.cat([x, F.interpolate(small, scale_factor=2)], dim=1)
            self.seen["cat"] = x.clone()
        x = self.mul(x) * 2
        self.seen["mul()"] = x.clone()
        return x.relu_()


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_operations_are_named_by_the_module_that_calls_them(net: Net, x: Tensor) -> None:
    with torch.no_grad(), ls.tap(net, "operations") as tape:
        net(x)
    blocks = [f"blocks.{k}.{name}" for k in (0, 1) for name in ("silu", "add")]
    own = ["max_pool2d", "clone:0", "sum", "gt", "interpolate", "cat", "clone:1", "mul()", "clone:2", "relu"]
    assert list(tape) == [*blocks, *own]
    for name, expected in net.seen.items():
        assert torch.equal(tape[name], expected), name
    with torch.no_grad():
        assert torch.equal(tape["relu"], net(x))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("blocks.0.add", ["blocks.0.add"]),
        ("*.add", ["blocks.0.add", "blocks.1.add"]),
        ("cat", ["cat"]),
        ("clone:1", ["clone:1"]),
        (["blocks.1.silu", "stem"], ["stem", "blocks.1.silu"]),
        ("mul", ["mul"]),
        ("mul()", ["mul()"]),
        ("blocks.0@in", ["blocks.0@in"]),
        ("blocks.*@in", ["blocks.0@in", "blocks.0.conv@in", "blocks.1@in", "blocks.1.conv@in"]),
    ],
)
def test_they_are_chosen_by_name_glob_and_call(net: Net, x: Tensor, layers: object, expected: list[str]) -> None:
    assert list(ls.capture(net, inputs=x, layers=layers)) == expected  # type: ignore[arg-type]


def test_one_that_does_not_run_is_reported_with_those_that_do(net: Net, x: Tensor) -> None:
    with pytest.raises(LayerError, match=r"blocks\.0\.cat never ran: blocks\.0 does not call cat, it calls silu, add"):
        ls.capture(net, inputs=x, layers="blocks.0.cat")
    with pytest.raises(UnknownLayerError, match=r"no layer is called or fits 'blocks\.0\.caat'"):
        ls.capture(net, inputs=x, layers="blocks.0.caat")
    with pytest.warns(LayerscopeWarning, match=r"\*\.cat never ran"):
        assert ls.capture(net, inputs=x, layers=["*.cat", "stem"]).keys() == {"stem"}


def test_output_gradients_and_hooks_are_as_without(net: Net, x: Tensor) -> None:
    expected = net(x)
    with ls.tap(net, "all") as tape:
        found = net(x)
        found.sum().backward()  # outside of the network: its own operations are not told
    assert torch.equal(found, expected)
    gradients = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    net.zero_grad()
    expected.sum().backward()
    assert all(torch.equal(one, p.grad) for one, p in zip(gradients, net.parameters(), strict=True))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())
    assert "sum:1" not in tape


def test_after_an_error_the_next_run_is_named_rightly(net: Net, x: Tensor) -> None:
    with pytest.raises(RuntimeError), ls.tap(net, "operations"):
        net(x[:, :2])
    assert list(ls.capture(net, inputs=x, layers="*.add")) == ["blocks.0.add", "blocks.1.add"]


def test_an_error_that_the_forward_handles_does_not_shift_the_names(x: Tensor) -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong, self.right = Block(), Block()

        def forward(self, x: Tensor) -> Tensor:
            try:
                x = self.wrong(x)
            except RuntimeError:
                x = self.right(F.pad(x, (0, 0, 0, 0, 0, 1)))
            return x * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        assert list(ls.capture(Tries(), inputs=x, layers="operations")) == ["pad", "right.silu", "right.add", "mul"]


def test_the_forward_stops_once_all_is_heard(net: Net, x: Tensor) -> None:
    ended = []
    net.register_forward_hook(lambda *_: ended.append(1))
    ls.capture(net, inputs=x, layers=["stem:0", "blocks.0.add:0"])
    assert not ended, "calls that are named end the run"
    ls.capture(net, inputs=x, layers=["stem", "blocks.0.add"])
    assert len(ended) == 1, "a module of the user's may call them again"


def test_a_loaded_network_stops_after_its_last_stage_and_not_before_a_second_call() -> None:
    network = ls.load("demo", device="cpu")
    ended = []
    network.module.register_forward_hook(lambda *_: ended.append(1))
    picture = torch.zeros(416, 416, 3, dtype=torch.uint8).numpy()
    maps = ls.capture(network, picture)
    assert list(maps) == list(network.stages)
    assert not ended
    every = ls.capture(network, picture, layers="modules")
    assert len(ended) == 0 or every, "with the last layer inside the heads it may end there"
    assert all(torch.equal(maps[name].values, every[name].values) for name in maps)


def test_the_table_of_layers_lists_operations_on_demand() -> None:
    network = ls.load("demo", device="cpu")
    plain, full = network.layers(), network.layers(operations=True)
    assert [one for one in full if one.type != "operation"] == list(plain)
    added = {one.name: one for one in full if one.type == "operation"}
    residual = next(name for name in added if name.endswith(".add"))
    assert added[residual].shape == next(one.shape for one in plain if one.name == residual.removesuffix(".add"))
    assert added[residual].stride is not None
