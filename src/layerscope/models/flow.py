"""What becomes of convolutions' outputs while a network runs: which of them nothing but one batch norm sees."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from layerscope.models.survey import tensors_in
from layerscope.models.wrapped import named_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Flow", "UndecidedError", "follow"]

TO_PYTHON = frozenset(("numpy", "tolist", "data_ptr", "__array__", "__dlpack__"))
"""Tensor methods that hand the values themselves to Python, past PyTorch's dispatch."""


class UndecidedError(Exception):
    """One run does not tell about the next: the forward looks at values, or calls what PyTorch does not describe."""


@dataclass(slots=True, eq=False)
class _Output:
    """What one call of a convolution gave.

    Attributes:
        conv: The convolution's name.
        norm: The name of the batch norm that was called with it.
        seen: Whether anything else has come by it.
    """

    conv: str
    norm: str | None = None
    seen: bool = False


class Flow:
    """Where the outputs of convolutions have gone so far; views of them and what shares their memory count as they."""

    def __init__(self) -> None:
        self._outputs: dict[StorageWeakRef, _Output] = {}  # weak, so that none is kept, and no place in memory reused
        self._running: str | None = None
        self._fed_otherwise: set[str] = set()

    def see(self, value: Any) -> None:
        """Note that somebody looks at a value: tensors, and whatever holds some."""
        for _, tensor in tensors_in("", value):
            output = self._outputs.get(_memory(tensor))
            if output is not None and (self._running is None or output.norm != self._running):
                output.seen = True

    def pairs(self) -> dict[str, str]:
        """Name each convolution with the batch norm that took all of its outputs and was called with nothing else."""
        norms: dict[str, set[str | None]] = {}
        convs: dict[str | None, set[str]] = {}
        for output in self._outputs.values():
            norms.setdefault(output.conv, set()).add(None if output.seen else output.norm)
            convs.setdefault(output.norm, set()).add(output.conv)
        return {
            conv: norm
            for conv, (norm, *others) in norms.items()
            if norm is not None and not others and len(convs[norm]) == 1 and norm not in self._fed_otherwise
        }

    def leave_conv(self, name: str, conv: Any, _args: Any, output: Tensor) -> None:
        """Hear that a convolution gave something; it must have a batch axis, and be of the weights' own type."""
        otherwise = output.ndim != conv.weight.ndim or output.dtype != conv.weight.dtype
        self._outputs[_memory(output)] = _Output(name, seen=otherwise)

    def enter_norm(self, name: str, _norm: nn.Module, args: tuple[Any, ...]) -> None:
        """Hear that a batch norm is called."""
        output = self._outputs.get(_memory(args[0])) if len(args) == 1 else None
        if output is None:
            self._fed_otherwise.add(name)
        elif output.norm is not None:
            output.seen = True
        else:
            output.norm = self._running = name

    def leave_norm(self, *_: Any) -> None:
        """Hear that it is done."""
        self._running = None


def _memory(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


@contextmanager
def follow(x: Tensor, module: nn.Module, convs: Iterable[str], norms: Iterable[str]) -> Iterator[Flow]:
    """Follow what some convolutions give, while the body runs the network that they are parts of.

    Args:
        x: The network's input.
        module: The network.
        convs: Names of PyTorch's own convolutions.
        norms: Names of PyTorch's own batch norms.

    Raises:
        UndecidedError: Another input may go another way through the network.
    """
    flow = Flow()
    values = _Values(x)
    found = named_layers(module)
    with ExitStack() as stack:
        for conv, name in {found[name]: name for name in convs}.items():  # one may have several names
            stack.enter_context(conv.register_forward_hook(partial(flow.leave_conv, name)))
        for norm, name in {found[name]: name for name in norms}.items():
            stack.enter_context(norm.register_forward_pre_hook(partial(flow.enter_norm, name)))
            stack.enter_context(norm.register_forward_hook(flow.leave_norm))
        stack.enter_context(_Functions(values))
        stack.enter_context(_Operations(values, flow))
        yield flow


class _Values:
    """What has been computed from the input, which must not decide what the forward does."""

    def __init__(self, x: Tensor) -> None:
        self._known = {_memory(x)}

    def among(self, arguments: Any) -> bool:
        """Tell whether any of some tensors depends on the input."""
        return any(_memory(tensor) in self._known for _, tensor in tensors_in("", arguments))

    def add(self, tensors: Any) -> None:
        """Note that some tensors do."""
        self._known.update(_memory(tensor) for _, tensor in tensors_in("", tensors))


class _Functions(TorchFunctionMode):
    """While entered, refuses to hand values past PyTorch's dispatch to Python."""

    def __init__(self, values: _Values) -> None:
        super().__init__()
        self._values = values

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in TO_PYTHON and self._values.among(args):
            raise UndecidedError(f"the forward calls {func.__name__}")
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, sees what every operation is called with, however it was called."""

    def __init__(self, values: _Values, flow: Flow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._values = values
        self._flow = flow

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # shielding this from the compiler would import it, which takes a second

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = args, kwargs or {}
        depends = self._values.among(arguments)
        if depends and (func.namespace != "aten" or _tells_values(func, args)):
            raise UndecidedError(f"the forward calls {func}")
        self._flow.see(arguments)
        output = func(*args, **(kwargs or {}))
        if depends:
            self._values.add((output, arguments) if func._schema.is_mutable else output)
        return output


def _tells_values(func: Any, args: Sequence[Any]) -> bool:
    """Tell whether an operation gives numbers to Python, or a tensor whose shape depends on numbers."""
    if func is torch.ops.aten.index.Tensor:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.isdisjoint(func.tags)
