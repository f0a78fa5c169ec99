"""Catching outputs: the truth, all of it, and nothing left behind."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import LayerError, LayerscopeWarning, UnknownLayerError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def cloning_hooks(module: nn.Module) -> Iterator[list[tuple[str, object]]]:
    """The oracle: one plain hook a module, which clones what it sees, in the order in which it sees it."""
    seen: list[tuple[str, object]] = []

    def copied(value: object) -> object:
        if isinstance(value, Tensor):
            return value.detach().clone()
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return tuple(copied(item) for item in value)
        return value

    handles = [
        child.register_forward_hook(lambda _m, _i, out, name=name: seen.append((name, copied(out))))
        for name, child in module.named_modules()
        if name
    ]
    yield seen
    for handle in handles:
        handle.remove()


def hooks_of(module: nn.Module) -> int:
    return sum(len(child._forward_hooks) + len(child._forward_pre_hooks) for child in module.modules())


def modes_of(module: nn.Module) -> list[bool]:
    return [child.training for child in module.modules()]


def quiet_tap(module: nn.Module, x: Tensor, layers: object = "modules") -> ls.Tape:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LayerscopeWarning)
        with torch.no_grad(), ls.tap(module, layers) as tape:
            module(x)
    return tape


def test_every_map_is_what_a_cloning_hook_sees(nasty: nn.Module) -> None:
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad(), cloning_hooks(nasty) as seen:
        nasty(x)
    tape = quiet_tap(nasty, x)
    by_name: dict[str, list[object]] = {}
    for name, value in seen:
        by_name.setdefault(name, []).append(value)
    expected: dict[str, Tensor] = {}
    for name, values in by_name.items():
        for k, value in enumerate(values):
            key = f"{name}:{k}" if len(values) > 1 else name
            if isinstance(value, Tensor):
                expected[key] = value
    split, named = by_name["split"][0], by_name["named"][0]
    assert isinstance(split, tuple)
    assert isinstance(named, dict)
    expected |= {"split.0": split[0], "split.1": split[1]}
    expected |= {"named.kept": named["kept"], "named.nested.0": named["nested"][0]}
    assert set(tape) == set(expected)
    for key, value in expected.items():
        assert torch.equal(tape[key], value), key


def test_values_overwritten_in_place_are_kept_as_they_were(nasty: nn.Module) -> None:
    tape = quiet_tap(nasty, torch.randn(1, 3, 8, 8))
    assert (tape["norm"] < 0).any(), "the in-place ReLU behind it must not show"
    assert (tape["relu:0"] >= 0).all()
    assert not torch.equal(tape["branch"] + tape["relu:0"], tape["branch"])


def test_a_module_that_runs_twice_gives_both_calls_in_the_order_of_running(nasty: nn.Module) -> None:
    tape = quiet_tap(nasty, torch.randn(1, 3, 8, 8), ["relu", "branch"])
    assert list(tape) == ["relu:0", "branch", "relu:1"]
    assert not torch.equal(tape["relu:0"], tape["relu:1"])
    with pytest.raises(LayerError, match=r"relu ran 2 times: ask for relu:0, relu:1"):
        tape["relu"]
    assert tape["branch:0"] is not None, ":0 of a layer that ran once is that call"


def test_one_call_of_several_can_be_selected(nasty: nn.Module) -> None:
    tape = quiet_tap(nasty, torch.randn(1, 3, 8, 8), "relu:1")
    assert list(tape) == ["relu:1"]


def test_output_is_bit_equal_with_and_without(nasty: nn.Module) -> None:
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        before = nasty(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerscopeWarning)
            with ls.tap(nasty):
                during = nasty(x)
        after = nasty(x)
    assert torch.equal(before, during)
    assert torch.equal(before, after)


def test_gradients_are_bit_equal_with_and_without() -> None:
    def gradients(tapped: bool) -> list[Tensor]:
        torch.manual_seed(3)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
        x = torch.randn(1, 3, 8, 8)
        if tapped:
            with ls.tap(net) as tape:
                net(x).square().sum().backward()
            assert not any(value.requires_grad for value in tape.values())
        else:
            net(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("ending", ["success", "error in the body", "failed registration", "error in the forward"])
def test_no_hook_and_no_mode_is_left_changed(nasty: nn.Module, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nasty.norm.train()
    handle = nasty.conv.register_forward_hook(lambda *_: None)  # the user's own
    hooks, modes = hooks_of(nasty), modes_of(nasty)
    x = torch.randn(2, 3, 8, 8)
    if ending == "failed registration":

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError("no more hooks")

        monkeypatch.setattr(nasty.split, "register_forward_hook", refuse)
        with pytest.raises(RuntimeError, match="no more hooks"), ls.tap(nasty):
            pass
    elif ending == "success":
        quiet_tap(nasty, x)
    else:

        def fail() -> object:
            nasty.eval()
            return nasty(x[:, :2]) if "forward" in ending else 1 / 0

        with pytest.raises((ZeroDivisionError, RuntimeError)), ls.tap(nasty):
            fail()
    assert hooks_of(nasty) == hooks
    assert modes_of(nasty) == modes
    handle.remove()


def test_layers_that_never_ran_are_named_with_the_reason(nasty: nn.Module) -> None:
    with pytest.warns(LayerscopeWarning) as caught, torch.no_grad(), ls.tap(nasty) as tape:
        nasty(torch.randn(1, 3, 8, 8))
    assert set(tape.silent) == {"never", "parts", "pieces", "nothing"}
    text = str(caught[0].message)
    assert "never never ran: the network's forward does not call this Conv2d" in text
    assert "parts never ran: a ModuleList only holds its parts" in text
    assert "pieces never ran as a whole" in text
    assert "nothing ran 1 time" in text
    with pytest.raises(LayerError, match="does not call this Conv2d"):
        tape["never"]


def test_a_wanted_call_that_does_not_come_is_reported(nasty: nn.Module) -> None:
    with pytest.warns(LayerscopeWarning, match="relu ran 2 times, but the wanted call"), ls.tap(nasty, "relu:7"):
        nasty(torch.randn(1, 3, 8, 8))


def test_an_unknown_layer_fails_before_the_network_runs(nasty: nn.Module) -> None:
    with pytest.raises(UnknownLayerError, match="did you mean 'branch'"), ls.tap(nasty, "brunch"):
        pytest.fail("the body must not run")


def test_a_missing_name_on_the_tape_offers_the_nearest(nasty: nn.Module) -> None:
    tape = quiet_tap(nasty, torch.randn(1, 3, 8, 8))
    with pytest.raises(LayerError, match=r"did you mean 'split\.1'"):
        tape["split.2"]
    with pytest.raises(LayerError, match=r"split gives several tensors: ask for split\.0, split\.1"):
        tape["split"]


def test_one_module_under_two_names_is_found_under_both() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 1)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    net = Shared()
    for name in ("first", "second"):
        assert list(quiet_tap(net, torch.randn(1, 3, 4, 4), name)) == [f"{name}:0", f"{name}:1"]


def test_one_activation_for_all_blocks_is_named_by_the_block_that_calls_it() -> None:
    class Block(nn.Module):
        def __init__(self, act: nn.Module) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 1), act

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x))

    act = nn.ReLU()
    net = nn.Sequential(*(Block(act) for _ in range(3)))
    x = torch.randn(1, 3, 4, 4)
    tape = quiet_tap(net, x, ["ReLU", "Block", "*.act@in"])
    assert list(tape) == [name for k in range(3) for name in (f"{k}.act@in", f"{k}.act", str(k))]
    assert all(torch.equal(tape[f"{k}.act"], tape[str(k)]) for k in range(3))
    assert list(quiet_tap(net, x, "1.act")) == ["1.act"]
    assert ls.check(net, inputs=x).passed


def test_an_item_that_is_called_like_a_layer_keeps_both() -> None:
    class Pair(nn.Sequential):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            first = self[0](x)
            return first + 1, self[1](first)

    net = nn.Sequential(Pair(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)))

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = net[0]

        def forward(self, x: Tensor) -> Tensor:
            return self.pair(x)[0]

    tape = quiet_tap(Outer(), torch.randn(1, 3, 4, 4))
    assert set(tape) == {"pair.0", "pair.1", "pair[0]", "pair[1]"}
    assert torch.equal(tape["pair.0"] + 1, tape["pair[0]"])


def test_half_precision_and_autocast_are_kept_as_captured() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).eval()
    x = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        with cloning_hooks(net) as seen:
            net(x)
        tape = quiet_tap(net, x)
    assert tape["0"].dtype == torch.bfloat16
    assert torch.equal(tape["0"], dict(seen)["0"])  # type: ignore[arg-type]


def test_a_tape_over_many_steps_keeps_every_call() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3))
    with ls.tap(net, "0") as tape:
        for _ in range(3):
            net(torch.randn(1, 3, 8, 8))
    assert list(tape) == ["0:0", "0:1", "0:2"]
