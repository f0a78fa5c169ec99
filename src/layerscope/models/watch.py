"""Hooks that leave nothing behind: the outputs and inputs of modules."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from layerscope.models.wrapped import named_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import nn

    Heard = Callable[[str, int, Any], None]

__all__ = ["INPUT", "watch"]

INPUT = "@in"
"""Behind a layer's name: what it is called with, instead of what it gives."""


@contextmanager
def watch(module: nn.Module, points: Iterable[str], heard: Heard) -> Iterator[dict[str, int]]:
    """Hear of every output, or input, of some layers while the body runs.

    However the body ends, and also if a registration fails midway, no hook stays and every module's
    ``training`` flag is put back.

    Args:
        module: The network.
        points: Dotted names of submodules; with ``@in`` behind, their inputs.
        heard: Called with the point's name, the ordinal of the call (from 0) and the value as it is, before
            anything else can write to it; inputs are a dict by place and keyword. What it returns is ignored,
            so values are never replaced.

    Yields:
        How often each point was passed so far.
    """
    found = named_layers(module)
    calls = dict.fromkeys(points, 0)

    def tell(point: str, value: Any) -> None:
        ordinal = calls[point]
        calls[point] += 1
        heard(point, ordinal, value)

    def on_output(point: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _args, output: tell(point, output)

    def on_input(point: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, args, kwargs: tell(point, dict(enumerate(args)) | kwargs)

    with ExitStack() as stack:
        for child in module.modules():
            stack.callback(setattr, child, "training", child.training)
        for point in calls:
            layer = found[point.removesuffix(INPUT)]
            if point.endswith(INPUT):
                stack.enter_context(layer.register_forward_pre_hook(on_input(point), with_kwargs=True))
            else:
                stack.enter_context(layer.register_forward_hook(on_output(point)))
        yield calls
