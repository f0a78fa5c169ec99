"""Operations that a network's forward calls between its modules: additions, concatenations, resizings.

They are heard of as they run, through PyTorch's own dispatch of functions (``TorchFunctionMode``), so nothing is
traced and control flow does no harm. An operation is named by the module whose forward calls it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerscope.models.wrapped import named_layers, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    Heard = Callable[[str, int, Any], None]

__all__ = ["is_operation", "operation_name", "watch_operations"]

ALIASES = {
    "concat": "cat",
    "concatenate": "cat",
    "floordiv": "floor_divide",
    "iadd": "add",
    "idiv": "div",
    "imul": "mul",
    "isub": "sub",
    "itruediv": "div",
    "radd": "add",
    "rmul": "mul",
    "truediv": "div",
}
"""Other names of the same operation, underscores taken off."""


def operation_name(name: str) -> str:
    """Give an operation one name, however it is spelled: ``+``, ``+=``, ``torch.add`` and ``x.add_`` are ``add``.

    >>> [operation_name(name) for name in ("__iadd__", "relu_", "concat", "add.Tensor")]
    ['add', 'relu', 'cat', 'add']
    """
    plain = name.partition(".")[0].strip("_")
    return ALIASES.get(plain, plain)


@cache
def _known_operations() -> frozenset[str]:
    found = ((name, getattr(place, name)) for place in (torch, torch.nn.functional, Tensor) for name in dir(place))
    return frozenset(operation_name(name) for name, value in found if callable(value) and not isinstance(value, type))


def is_operation(name: str) -> bool:
    """Tell whether PyTorch has an operation of this name.

    >>> is_operation("add"), is_operation("brunch"), is_operation("Block")
    (True, False, False)
    """
    return name == operation_name(name) and name in _known_operations()


@contextmanager
def watch_operations(module: nn.Module, heard: Heard) -> Iterator[dict[str, int]]:
    """Hear of every operation that gives a tensor made of tensors, while the body runs.

    What PyTorch's own modules without parts do inside (the ``conv2d`` of a ``Conv2d``) is theirs and not told:
    the module's output is the same. Nor are operations outside the module, such as those of a loss.

    Args:
        module: The network.
        heard: Called with the operation's name, the ordinal of the call (from 0) and what it gave, before
            anything else can write to it.

    Yields:
        How often each operation was called so far.
    """
    root = unwrapped(module)
    names = named_layers(module)
    running: list[str | None] = []
    calls: dict[str, int] = {}

    def enter(path: str | None) -> Callable[..., None]:
        return lambda *_: running.append(path)

    def leave(*_: Any) -> None:
        running.pop()

    def tell(operation: str, output: Any) -> None:
        if running and (path := running[-1]) is not None:
            name = _full_name(path, operation, names)
            ordinal = calls.get(name, 0)
            calls[name] = ordinal + 1
            heard(name, ordinal, output)

    with ExitStack() as stack:
        done = set()
        for path, part in [("", root), *names.items()]:
            if id(part) not in done:
                done.add(id(part))
                own = None if _keeps_to_itself(part) else path
                stack.enter_context(part.register_forward_pre_hook(enter(own)))
                stack.enter_context(part.register_forward_hook(leave, always_call=True))
        stack.enter_context(_Operations(tell))
        yield calls


def _keeps_to_itself(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.modules.") and not any(True for _ in module.children())


def _full_name(path: str, operation: str, names: Container[str]) -> str:
    name = f"{path}.{operation}" if path else operation
    return f"{name}()" if name in names else name


class _Operations(TorchFunctionMode):
    """While entered, tells of each operation that gives a tensor made of tensors."""

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation, then tell of it."""
        output = func(*args, **kwargs) if kwargs else func(*args)
        name = getattr(func, "__name__", "")
        value = args[0] if name == "__setitem__" else output
        if name not in ("__get__", "__set__") and _holds_tensor(value) and _any_tensor(args, kwargs):
            self._tell(operation_name(name), value)
        return output


def _holds_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(isinstance(v, Tensor) for v in value))


def _any_tensor(args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bool:
    return any(map(_holds_tensor, args)) or (kwargs is not None and any(map(_holds_tensor, kwargs.values())))
