"""Catching layers' outputs while any module runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from layerscope.errors import LayerError, LayerscopeWarning, nearest
from layerscope.hooks.select import Plan, Selection, select
from layerscope.models.survey import tensors_in
from layerscope.models.watch import named_layers, watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["Heard", "Tape", "catch", "final_name", "tap", "why_silent"]


@dataclass(frozen=True, slots=True)
class Heard:
    """One output tensor of one call.

    Attributes:
        layer: The module's name.
        path: The name of the tensor: the layer's, with the item's place where the output has several.
        ordinal: Which call of the module it was, from 0.
    """

    layer: str
    path: str
    ordinal: int


def final_name(heard: Heard, calls: Mapping[str, int]) -> str:
    """Name a tensor once it is known how often its layer ran.

    >>> final_name(Heard("act", "act", 1), {"act": 2}), final_name(Heard("act", "act", 0), {"act": 1})
    ('act:1', 'act')
    """
    return f"{heard.path}:{heard.ordinal}" if calls[heard.layer] > 1 else heard.path


@contextmanager
def catch(module: nn.Module, plan: Plan, take: Callable[[Heard, Tensor], None]) -> Iterator[Mapping[str, int]]:
    """Hand over each wanted output at the moment it exists.

    Args:
        module: The network.
        plan: Which layers.
        take: Called with the tensor itself, before the next operation can write to it. What is to be kept
            must be copied there.

    Yields:
        How often each layer ran so far.
    """
    taken = named_layers(module)

    def on_output(layer: str, ordinal: int, output: Any) -> None:
        if plan.wants(layer, ordinal):
            for path, tensor in tensors_in(layer, output, taken):
                take(Heard(layer, path, ordinal), tensor)

    with watch(module, plan.layers, on_output) as calls:
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
        self.calls: Mapping[str, int] = dict.fromkeys(plan.layers, 0)

    def take(self, heard: Heard, tensor: Tensor) -> None:
        """Keep a copy of one output."""
        self._heard.append((heard, tensor.detach().clone()))

    def _named(self) -> dict[str, Tensor]:
        return {final_name(heard, self.calls): tensor for heard, tensor in self._heard}

    @property
    def silent(self) -> tuple[str, ...]:
        """Selected layers that have not run, or whose wanted call has not come."""
        heard = {entry.layer for entry, _ in self._heard}
        return tuple(layer for layer in self._plan.layers if layer not in heard)

    def __getitem__(self, name: str) -> Tensor:
        named = self._named()
        if name in named:
            return named[name]
        single = name.removesuffix(":0")
        if single in named:
            return named[single]
        if name in self.calls:
            raise LayerError(self._explain(name))
        raise LayerError(f"nothing was caught under {name!r}{nearest(name, named)}")

    def _explain(self, layer: str) -> str:
        if self.calls[layer] > 1:
            keys = [key for key in self._named() if key.rpartition(":")[0] == layer]
            return f"{layer} ran {self.calls[layer]} times: ask for {', '.join(keys)}"
        several = [key for key in self._named() if key.startswith(f"{layer}.")]
        if several and self.calls[layer]:
            return f"{layer} gives several tensors: ask for {', '.join(several)}"
        return why_silent(layer, self._module, self.calls[layer])

    def __iter__(self) -> Iterator[str]:
        return iter(self._named())

    def __len__(self) -> int:
        return len(self._named())

    def __repr__(self) -> str:
        return f"<Tape of {', '.join(f'{name} {tuple(value.shape)}' for name, value in self.items())}>"


@contextmanager
def tap(module: nn.Module, layers: Selection = "all") -> Iterator[Tape]:
    """Catch layers of any module, in your own loop around your own forward.

    Nothing of the module is changed: outputs, gradients and modes stay as they are, and no hook is left.
    Layers that did not run are named in a warning at the end, and by the tape's ``silent``.

    Args:
        module: Any module.
        layers: Which: names, globs, class names, ``convs``, ``all``, a callable, or several of these.

    Yields:
        The tape, which fills while the body runs and stays afterwards.

    Raises:
        UnknownLayerError: A name or pattern fits no layer.

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
    reasons = [why_silent(layer, module, calls[layer]) for layer in silent]
    if reasons:
        more = f" (and {len(reasons) - 5} more)" if len(reasons) > 5 else ""
        warnings.warn(f"layers without output: {'; '.join(reasons[:5])}{more}", LayerscopeWarning, stacklevel=4)


def why_silent(layer: str, module: nn.Module, calls: int) -> str:
    """Say why a layer gave nothing."""
    child = module.get_submodule(layer)
    kind = type(child).__name__
    if calls:
        return f"{layer} ran {calls} time{'s' if calls > 1 else ''}, but the wanted call did not come or gave no tensor"
    if type(child).forward is nn.Module.forward or isinstance(child, nn.ModuleList | nn.ModuleDict):
        return f"{layer} never ran: a {kind} only holds its parts, ask for those"
    if any(True for _ in child.children()):
        return f"{layer} never ran as a whole: the network may call its parts one by one ({layer}.*)"
    return f"{layer} never ran: the network's forward does not call this {kind}"
