"""What a network's layers give: one pass over shapes, without the arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from layerscope.models.axes import read_axes
from layerscope.models.operations import watch_operations
from layerscope.models.receptive_field import ReceptiveFields
from layerscope.models.watch import INPUT, watch
from layerscope.models.wrapped import named_layers, unwrapped

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from layerscope.models.reach import Reach

__all__ = ["Layer", "called_plainly", "count_calls", "survey", "tensors_in"]


OPERATION = "operation"

Call: TypeAlias = Callable[[nn.Module, Tensor], Any]
"""How a module is called with an input."""


def called_plainly(module: nn.Module, x: Tensor) -> Any:
    """Call a module with an input and nothing else."""
    return module(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a network, as it runs on an input of a given size.

    Attributes:
        name: Dotted path, with ``:k`` for the k-th call where the module runs more than once.
        type: Class name of the module; ``operation`` for what a forward calls between modules.
        shape: Shape of its output for one picture, batch axis dropped; None where it gives no tensor.
        stride: Input pixels per cell down and across; None where the output has no cells or they do not divide.
        receptive_field: Height and width in input pixels that one cell can see at most; ``inf`` where it sees
            the whole input, None where an operation on the way is not understood.
        parameters: Numbers learned by the module and those inside it.
        leaf: Whether it has no modules inside.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    stride: tuple[int, int] | None
    receptive_field: tuple[float, float] | None
    parameters: int
    leaf: bool


def tensors_in(name: str, output: Any, taken: Container[str] = ()) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a layer's output, each with its name.

    A single tensor, and a tuple or dict holding just one, keeps the layer's name. Several are ``name.0``,
    ``name.1`` or ``name.key``, nested ones ``name.0.1``; where a layer is called so, ``name[0]``. What is no
    tensor is passed over.

    Args:
        name: The layer's name.
        output: What it gave.
        taken: Names that belong to layers.
    """
    leaves = list(_leaves("", output))
    if len(leaves) == 1:
        yield name, leaves[0][1]
        return
    for path, tensor in leaves:
        yield (f"{name}[{path[1:]}]" if name + path in taken else name + path), tensor


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif hasattr(value, "items"):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(f"{path}.{index}", item)


def survey(module: nn.Module, x: Tensor, *, call: Call = called_plainly, operations: bool = False) -> tuple[Layer, ...]:
    """List the layers that run, in the order in which they finish.

    The network is run on shapes alone (PyTorch's meta device); one whose forward looks at values is run
    on ``x`` itself.

    Args:
        module: The network, left as it is.
        x: (1, C, H, W) an input; only its shape matters where shapes suffice.
        call: How the module is called with it.
        operations: List what its forward calls between the modules too.
    """
    try:
        return _listen(_on_shapes(module), x.to("meta"), call, operations=operations)
    except Exception:  # whatever it is that shapes alone cannot do; what is wrong with the network comes again
        return _listen(module, x, call, operations=operations)


def count_calls(module: nn.Module, x: Tensor, *, call: Call = called_plainly) -> dict[str, int] | None:
    """Count how often each layer, each layer's input (``name@in``) and each operation runs for one input.

    Args:
        module: The network, left as it is: a copy runs, on shapes alone.
        x: (1, C, H, W) an input; only its shape matters.
        call: How the module is called with it.

    Returns:
        Names to calls; None where shapes alone do not tell.
    """
    found = named_layers(module)
    try:
        empty = _on_shapes(module)
        with torch.no_grad(), watch(empty, found, _nothing) as calls, watch_operations(empty, _nothing) as operations:
            empty.eval()
            call(empty, x.to("meta"))
    except Exception:  # as above
        return None
    return {name + INPUT: count for name, count in calls.items()} | calls | operations


def _nothing(_layer: str, _ordinal: int, _value: Any) -> None:
    return None


def _on_shapes(module: nn.Module) -> nn.Module:
    """Copy a network without its numbers and hooks, so that nothing that its forward remembers stays behind."""
    state = (*module.parameters(), *module.buffers())
    empty: dict[int, Tensor] = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in state}
    for parameter in module.parameters():
        empty[id(parameter)] = nn.Parameter(empty[id(parameter)], requires_grad=parameter.requires_grad)
    copied = copy.deepcopy(unwrapped(module), empty)
    for part in copied.modules():
        part._forward_hooks.clear()  # the user's own, which expect numbers
    return copied


def _listen(module: nn.Module, x: Tensor, call: Call, *, operations: bool) -> tuple[Layer, ...]:
    found = named_layers(module)
    called: Mapping[str, int] = {}
    heard: list[tuple[str, str, int, tuple[int, ...] | None, Reach | None]] = []
    fields = ReceptiveFields(x)

    def on_output(layer: str, ordinal: int, output: Any) -> None:
        tensors = list(tensors_in(layer, output, found))
        for path, tensor in tensors:
            heard.append((layer, path, ordinal, tuple(tensor.shape[1:]), fields.of(tensor)))
        if not tensors:
            heard.append((layer, layer, ordinal, None, None))

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        calls = stack.enter_context(watch(module, found, on_output))
        if operations:
            called = stack.enter_context(watch_operations(module, on_output))
        stack.enter_context(fields)
        module.eval()
        call(module, x)
    calls |= called
    return tuple(
        Layer(
            name=f"{path}:{ordinal}" if calls[layer] > 1 else path,
            type=type(found[layer]).__name__ if layer in found else OPERATION,
            shape=shape,
            stride=_stride(tuple(x.shape[2:]), shape),
            receptive_field=reach.size_hw if reach else None,
            parameters=sum(p.numel() for p in found[layer].parameters()) if layer in found else 0,
            leaf=layer not in found or not any(True for _ in found[layer].children()),
        )
        for layer, path, ordinal, shape, reach in heard
    )


def _stride(input_hw: tuple[int, ...], shape: tuple[int, ...] | None) -> tuple[int, int] | None:
    if shape is None or not 2 <= len(shape) <= 4 or len(input_hw) < 2 or 0 in shape:
        return None
    height, width = input_hw[-2:]
    axes = read_axes(shape, (height, width))
    if axes.kind == "line" or height % axes.cells[-2] or width % axes.cells[-1]:
        return None
    return height // axes.cells[-2], width // axes.cells[-1]
