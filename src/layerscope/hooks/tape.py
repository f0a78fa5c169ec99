"""Catching layers' outputs while any module runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from layerscope.errors import LayerError, LayerscopeWarning, nearest
from layerscope.hooks.select import Plan, Selection, select
from layerscope.models.operations import watch_operations
from layerscope.models.survey import tensors_in
from layerscope.models.watch import INPUT, watch
from layerscope.models.wrapped import in_the_open, named_layers

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from torch import Tensor

__all__ = ["Calls", "Heard", "Tape", "catch", "final_name", "tap", "why_silent"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One tensor of one call.

    Attributes:
        layer: The name of the layer.
        path: The name of the tensor: the layer's, with the item's place where there are several.
        ordinal: Which call of the layer it was, from 0.
    """

    layer: str
    path: str
    ordinal: int


class Calls(dict[str, int]):
    """How often each layer ran so far; 0 for one that never did."""

    def __missing__(self, layer: str) -> int:
        """Count what was never heard of."""
        return 0


def final_name(heard: Heard, calls: Mapping[str, int], plan: Plan) -> str:
    """Name a tensor once it is known how often its layer ran, or with the number by which its call was asked for.

    >>> final_name(Heard("act", "act", 1), {"act": 2}, Plan()), final_name(Heard("act", "act", 0), {"act": 1}, Plan())
    ('act:1', 'act')
    """
    numbered = calls[heard.layer] > 1 or plan.numbers(heard.layer)
    return f"{heard.path}:{heard.ordinal}" if numbered else heard.path


class _Enough(BaseException):
    """Everything wanted has been heard; no error, and so out of reach of a forward that handles errors."""


@contextmanager
def catch(
    module: nn.Module,
    plan: Plan,
    take: Callable[[Heard, Tensor], None],
    *,
    until: Mapping[str, int] | None = None,
) -> Iterator[Calls]:
    """Hand over each wanted output at the moment it exists.

    Args:
        module: The network.
        plan: Which layers.
        take: Called with the tensor itself, before the next operation can write to it. What is to be kept
            must be copied there.
        until: End the body as soon as each of these layers has run so many times; None: let it run to its end.

    Yields:
        How often each layer ran so far.
    """
    taken = named_layers(module)
    calls = Calls(dict.fromkeys(plan.layers, 0))
    left = dict(until or {})

    def on_value(layer: str, ordinal: int, value: Any) -> None:
        calls[layer] = ordinal + 1
        if plan.wants(layer, ordinal):
            with torch._C.DisableTorchFunction():  # what taking does is no operation of the network
                for path, tensor in tensors_in(layer, value, taken):
                    take(Heard(layer, path, ordinal), tensor)
        if left and left.get(layer) == calls[layer]:
            del left[layer]
            if not left:
                raise _Enough

    with ExitStack() as stack:
        stack.enter_context(in_the_open(module))
        stack.enter_context(watch(module, plan.layers, on_value))
        if plan.hears_operations:
            stack.enter_context(watch_operations(module, on_value))
        with suppress(_Enough):
            yield calls


class Tape(Mapping[str, "Tensor"]):
    """What layers gave: names to tensors, in the order in which the layers ran.

    A layer that ran once is found under its name; one that ran several times under ``name:0``, ``name:1``, ...
    Tensors are copies, detached from the graph.
    """

    def __init__(self, plan: Plan, module: nn.Module) -> None:
        self._plan = plan
        self._module = module
        self._heard: list[tuple[Heard, Tensor]] = []
        self.calls = Calls(dict.fromkeys(plan.layers, 0))

    def take(self, heard: Heard, tensor: Tensor) -> None:
        """Keep a copy of one output."""
        self._heard.append((heard, tensor.detach().clone()))

    def _named(self) -> dict[str, Tensor]:
        return {final_name(heard, self.calls, self._plan): tensor for heard, tensor in self._heard}

    def tensors(self, layers: Container[str]) -> dict[tuple[str, int], list[Tensor]]:
        """List the tensors that each call of some layers gave: layer and ordinal to tensors, in order."""
        found: dict[tuple[str, int], list[Tensor]] = {}
        for heard, tensor in self._heard:
            if heard.layer in layers:
                found.setdefault((heard.layer, heard.ordinal), []).append(tensor)
        return found

    @property
    def silent(self) -> tuple[str, ...]:
        """Selected layers that have not run, or whose wanted call has not come."""
        return self._plan.unheard({entry.layer for entry, _ in self._heard})

    def __getitem__(self, name: str) -> Tensor:
        named = self._named()
        if name in named:
            return named[name]
        for other in (name.removesuffix(":0"), f"{name}:0"):
            if other in named and self.calls[other.removesuffix(":0")] <= 1:
                return named[other]
        if name in self.calls:
            raise LayerError(self._explain(name))
        raise LayerError(f"nothing was caught under {name!r}{nearest(name, named)}")

    def _explain(self, layer: str) -> str:
        if self.calls[layer] > 1:
            keys = [key for key in self._named() if key.rpartition(":")[0] == layer]
            return f"{layer} ran {self.calls[layer]} times: ask for {', '.join(keys)}"
        several = list(dict.fromkeys(entry.path for entry, _ in self._heard if entry.layer == layer))
        if several and self.calls[layer]:
            return f"{layer} gives several tensors: ask for {', '.join(several)}"
        return why_silent(layer, self._module, self.calls)

    def __contains__(self, name: object) -> bool:
        return name in self._named()

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._named())

    def __repr__(self) -> str:
        return f"<Tape of {', '.join(f'{name} {tuple(value.shape)}' for name, value in self.items())}>"


@contextmanager
def tap(module: nn.Module, layers: Selection = "modules") -> Iterator[Tape]:
    """Catch layers of any module, in your own loop around your own forward.

    Nothing of the module is changed: outputs, gradients and modes stay as they are, and no hook is left. What is
    compiled runs uncompiled meanwhile.
    Layers that did not run are named in a warning at the end, and by the tape's ``silent``.

    Args:
        module: Any module.
        layers: Which: names, globs, class names, ``convs``, ``modules``, ``operations``, ``all``, a callable, or
            several of these; see ``Selection``.

    Yields:
        The tape, which fills while the body runs and stays afterwards.

    Raises:
        UnknownLayerError: A name or pattern fits no layer.
        LayerError: The module runs in copies on several devices.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(inplace=True))
    >>> with tap(net, layers=["0", "ReLU"]) as tape:
    ...     _ = net(torch.ones(1, 3, 5, 5))
    >>> {name: tuple(values.shape) for name, values in tape.items()}
    {'0': (1, 8, 3, 3), '1': (1, 8, 3, 3)}
    """
    plan = select(layers, module)
    tape = Tape(plan, module)
    with catch(module, plan, tape.take) as calls:
        tape.calls = calls
        yield tape
    warn_silent(tape.silent, module, calls)


def warn_silent(silent: Iterable[str], module: nn.Module, calls: Mapping[str, int]) -> None:
    """Name the layers that gave nothing, in one warning."""
    reasons = [why_silent(layer, module, calls) for layer in silent]
    if reasons:
        more = f" (and {len(reasons) - 5} more)" if len(reasons) > 5 else ""
        warnings.warn(f"layers without output: {'; '.join(reasons[:5])}{more}", LayerscopeWarning, stacklevel=4)


def why_silent(layer: str, module: nn.Module, calls: Mapping[str, int]) -> str:
    """Say why a layer gave nothing.

    Args:
        layer: Its name; of an operation also a glob.
        module: The network.
        calls: How often each layer ran.
    """
    ran = calls[layer]
    if ran:
        return f"{layer} ran {ran} time{'s' if ran > 1 else ''}, but the wanted call did not come or gave no tensor"
    child = named_layers(module).get(layer.removesuffix(INPUT))
    if child is None:
        return _why_not_called(layer, calls)
    kind = type(child).__name__
    if type(child).forward is nn.Module.forward or isinstance(child, nn.ModuleList | nn.ModuleDict):
        return f"{layer} never ran: a {kind} only holds its parts, ask for those"
    if any(True for _ in child.children()):
        return f"{layer} never ran as a whole: the network may call its parts one by one ({layer}.*)"
    return f"{layer} never ran: the network's forward does not call this {kind}"


def _why_not_called(operation: str, calls: Mapping[str, int]) -> str:
    path, _, name = operation.rpartition(".")
    own = [known.rpartition(".")[2] for known in calls if known.rpartition(".")[0] == path]
    called = f"it calls {', '.join(own)}" if own else "it calls no operation of its own"
    return f"{operation} never ran: {path or 'the network itself'} does not call {name}, {called}"
