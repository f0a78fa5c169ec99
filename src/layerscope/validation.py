"""The promises of capture, tested on a network of yours.

What is claimed is compared with the plainest thing that could be done instead: one hook a module that clones what
it sees, written here without any of the code that it checks.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from layerscope.errors import LayerscopeError, LayerscopeWarning
from layerscope.hooks import tap
from layerscope.hooks.capture import call_with
from layerscope.models.network import Network
from layerscope.models.wrapped import unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layerscope.hooks import Tape
    from layerscope.inputs import InputSource

__all__ = ["Check", "Checked", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One promise, held against a network.

    Attributes:
        promise: What is promised.
        kept: Whether it holds.
        detail: What was compared, or what differs.
    """

    promise: str
    kept: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What ``check`` found.

    Attributes:
        network: What was checked.
        rows: The promises, one by one.
        layers: How many modules ran.
        maps: How many tensors were compared.
        operations: How many operations between modules were heard.
    """

    network: str
    rows: tuple[Checked, ...]
    layers: int
    maps: int
    operations: int

    @property
    def passed(self) -> bool:
        """Whether every promise is kept."""
        return all(row.kept for row in self.rows)


def check(net: Network | nn.Module, picture: InputSource | None = None, *, inputs: Any = None) -> Check:
    """Hold the promises of capture against a network.

    The network runs five times, seeded alike each time. Whatever it does, its random state, its weights, its modes
    and hooks are compared with what they were.

    Args:
        net: From ``load``; or any module.
        picture: For a network; None: noise, seeded.
        inputs: For a module: a tensor, a tuple of arguments, or a dict of keyword arguments.

    Raises:
        InputError: The picture cannot be read.
        OptionError: The network cannot take its own size.

    >>> check(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)), inputs=torch.ones(1, 3, 8, 8)).passed
    True
    """
    name = net.source if isinstance(net, Network) else type(unwrapped(net)).__name__
    module = net.module if isinstance(net, Network) else unwrapped(net)
    forward = _forward_of(net, module, picture, inputs)
    before = _state(module)
    with _evaluating(module):
        plain, again = _leaves(forward()), _leaves(forward())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerscopeWarning)
            with _cloning_hooks(module) as seen, tap(module, "all") as tape:
                watched = _leaves(forward())
        steady = _same(plain, again)
        broken = _break(module, forward)
    rows = (
        Checked(
            promise="the output is bit-equal with and without capture",
            kept=_same(plain, watched) or not steady,
            detail=f"{len(plain)} tensors" if steady else "not comparable: the network differs from itself run by run",
        ),
        _compare_maps(seen, tape, module),
        _compare_state(before, _state(module), broken),
        _compare_silent(seen, tape, module),
    )
    modules = {one for one, _ in seen}
    own = {_plain_name(one) for one, _ in module.named_modules(remove_duplicate=False)}
    return Check(
        network=name,
        rows=rows,
        layers=len(modules),
        maps=sum(len(tensors) for _, tensors in seen),
        operations=sum(count for one, count in tape.calls.items() if one not in own),
    )


Seen = list[tuple[str, list[Tensor]]]


def _forward_of(
    net: Network | nn.Module, module: nn.Module, picture: InputSource | None, inputs: Any
) -> Callable[[], Any]:
    """Make a function that runs the network once more, seeded alike every time."""
    if isinstance(net, Network):
        if picture is None:
            size_hw = net.preparation.size_hw
            noise = torch.randint(0, 256, (*size_hw, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
            picture = noise.numpy()
        x, _ = net.prepare(picture)

    def forward() -> Any:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            return net.forward(x.clone()) if isinstance(net, Network) else call_with(module, _cloned(inputs))

    return forward


def _cloned(inputs: Any) -> Any:
    """Copy the tensors of an input, which a network may write to."""
    if isinstance(inputs, Tensor):
        return inputs.clone()
    if isinstance(inputs, tuple | list):
        return type(inputs)(map(_cloned, inputs))
    return {key: _cloned(value) for key, value in inputs.items()} if isinstance(inputs, dict) else inputs


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while.

    PyTorch's transformer layers compute in one fused step as long as nobody watches their parts, with other
    roundings; here they compute by parts all the time, so that what is compared is the same computation.
    """
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        for part in module.modules():
            stack.callback(setattr, part, "training", part.training)
        for part in module.modules():
            part.training = False
        yield


@contextmanager
def _cloning_hooks(module: nn.Module) -> Iterator[Seen]:
    """The plainest hooks there are: one a module, which clones what it sees."""
    seen: Seen = []
    handles = [
        part.register_forward_hook(lambda _m, _i, out, name=name: seen.append((name, _leaves(out))))
        for name, part in module.named_modules()
        if name
    ]
    yield seen
    for handle in handles:
        handle.remove()


def _leaves(value: Any) -> list[Tensor]:
    """Clone the tensors of an output, in order."""
    if hasattr(value, "items") and not isinstance(value, dict):
        value = dict(value.items())
    return [leaf.detach().clone() for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _same(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(_equal(one, other) for one, other in zip(some, others, strict=True))


def _equal(one: Tensor, other: Tensor) -> bool:
    """Compare bits: NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.is_quantized:
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _compare_maps(seen: Seen, tape: Tape, module: nn.Module) -> Checked:
    """Hold every caught tensor against the plain hooks'."""
    names = _names(module)
    by_call = tape.tensors({name for same in names.values() for name in same})
    heard: dict[str, list[list[Tensor]]] = {}
    for (name, _), tensors in by_call.items():
        heard.setdefault(name, []).append(tensors)
    calls: dict[str, list[list[Tensor]]] = {}
    for name, tensors in seen:
        calls.setdefault(name, []).append(tensors)
    wrong = [
        name
        for name, expected in calls.items()
        if not _all_there(expected, [heard.get(one, []) for one in names[name]])
    ]
    compared = sum(len(tensors) for _, tensors in seen)
    detail = f"{compared} tensors of {len(seen)} calls" if not wrong else f"other: {', '.join(wrong[:5])}"
    return Checked(promise="every map is what a plain cloning hook sees", kept=not wrong, detail=detail)


def _all_there(expected: list[list[Tensor]], heard: list[list[list[Tensor]]]) -> bool:
    """Hold a module's calls against what was caught of it, under each of its names in the order of running.

    A module of one name has all of its calls there; of several, each call belongs to those through which it came.
    """
    expected = [tensors for tensors in expected if tensors]
    if len(heard) == 1:
        return len(expected) == len(heard[0]) and all(map(_same, expected, heard[0]))
    places = [0] * len(heard)
    for tensors in expected:
        fits = [k for k, own in enumerate(heard) if places[k] < len(own) and _same(own[places[k]], tensors)]
        if not fits:
            return False
        for k in fits:
            places[k] += 1
    return all(place == len(own) for place, own in zip(places, heard, strict=True))


def _names(module: nn.Module) -> dict[str, list[str]]:
    """List all names of every module by its first, wrappers looked through."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        if name:
            own = first.setdefault(id(part), name)
            names.setdefault(own, []).append(_plain_name(name))
    return {own: list(dict.fromkeys(same)) for own, same in names.items()}


def _plain_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


@dataclass(frozen=True, slots=True)
class _State:
    """What must be as it was."""

    hooks: int
    modes: list[bool]
    tensors: dict[str, Tensor]
    classes: list[type]
    forwards: list[object]


def _state(module: nn.Module) -> _State:
    parts = list(module.modules())
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return _State(
        hooks=sum(len(getattr(part, kind, ())) for part in parts for kind in kinds),
        modes=[part.training for part in parts],
        tensors={
            name: tensor.detach().clone() for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)
        },
        classes=[type(part) for part in parts],
        forwards=[getattr(part, "__dict__", {}).get("forward") for part in parts],
    )


def _break(module: nn.Module, forward: Callable[[], Any]) -> bool:
    """Let the forward fail halfway while everything is watched; tell whether the error came through."""

    class DeliberateError(Exception):
        pass

    def fail(*_: Any) -> None:
        raise DeliberateError

    last = [part for _, part in module.named_modules() if not any(True for _ in part.children())][-1:]
    handle = last[0].register_forward_hook(fail) if last else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerscopeWarning)
            with tap(module, "all"):
                forward()
    except DeliberateError:
        return True
    except LayerscopeError:
        return False
    finally:
        if handle is not None:
            handle.remove()
    return True  # the last module is never called


def _compare_state(before: _State, after: _State, broken: bool) -> Checked:
    changed = [
        what
        for what, same in (
            ("hooks", before.hooks == after.hooks),
            ("training flags", before.modes == after.modes),
            ("weights", _same(list(before.tensors.values()), list(after.tensors.values()))),
            ("modules", before.classes == after.classes and before.forwards == after.forwards),
            ("an error in the forward was swallowed", broken),
        )
        if not same
    ]
    detail = f"changed: {', '.join(changed)}" if changed else f"{len(before.modes)} modules, also after an error"
    return Checked(promise="nothing is left behind", kept=not changed, detail=detail)


def _compare_silent(seen: Seen, tape: Tape, module: nn.Module) -> Checked:
    """Hold the layers that are reported as silent against the plain hooks' silence.

    Of a module with several names some may be silent, as long as it is not.
    """
    spoke = {name for name, leaves in seen if leaves}
    found = {name for name in tape.silent if name != "*"}
    names = _names(module)
    running = {one for name in spoke for one in names[name]}  # a compiled part goes by the name of what it wraps
    wrong = [
        name
        for name, same in names.items()
        if (not running.intersection(same) and not found.issuperset(same)) or (name in spoke and found.issuperset(same))
    ]
    detail = f"wrong about {', '.join(wrong[:5])}" if wrong else f"{len(found)} never ran or gave no tensor"
    return Checked(promise="a layer that gave nothing is reported", kept=not wrong, detail=detail)
