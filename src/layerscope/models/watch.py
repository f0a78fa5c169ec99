"""Hooks that leave nothing behind: the outputs and inputs of modules."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from layerscope.models.wrapped import named_layers, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
    by_layer: dict[int, list[str]] = {}
    for point in calls:
        by_layer.setdefault(id(found[point.removesuffix(INPUT)]), []).append(point)
    names = _Names(module, found)

    def tell(points: Iterable[str], value: Any) -> None:
        for point in names.meant(points):
            ordinal = calls[point]
            calls[point] += 1
            heard(point, ordinal, value)

    with ExitStack() as stack:
        stack.callback(_put_back, [(child, child.training) for child in module.modules()])
        names.enter(stack)
        for same in by_layer.values():
            layer = found[same[0].removesuffix(INPUT)]
            inputs = [point for point in same if point.endswith(INPUT)]
            outputs = [point for point in same if not point.endswith(INPUT)]
            if inputs:
                stack.enter_context(layer.register_forward_pre_hook(_on_input(inputs, tell), with_kwargs=True))
            if outputs:
                stack.enter_context(layer.register_forward_hook(_on_output(outputs, tell)))
        yield calls


def _put_back(training: Iterable[tuple[nn.Module, bool]]) -> None:
    """Give modules their ``training`` flags back."""
    for child, before in training:
        if child.training is not before:
            child.training = before


def _on_output(points: list[str], tell: Callable[[Iterable[str], Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _module, _args, output: tell(points, output)


def _on_input(points: list[str], tell: Callable[[Iterable[str], Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    return lambda _module, args, kwargs: tell(points, dict(enumerate(args)) | kwargs)


class _Names:
    """Which of a module's names is meant by a call, where it has several, such as one activation for all blocks.

    It is the one, or those, in the module whose forward is running; all of them where it is called from elsewhere.
    """

    def __init__(self, module: nn.Module, found: Mapping[str, nn.Module]) -> None:
        self._found: dict[str, nn.Module] = {"": unwrapped(module), **found}
        names: dict[int, list[str]] = {}
        for name, layer in found.items():
            names.setdefault(id(layer), []).append(name)
        self._shared = {name: same for same in names.values() if len(same) > 1 for name in same}
        self._running: list[nn.Module] = []

    def _around(self, name: str) -> nn.Module:
        return self._found[name.rpartition(".")[0]]

    def enter(self, stack: ExitStack) -> None:
        """Follow which of the modules around shared ones is running."""
        around = {id(one): one for one in map(self._around, self._shared)}
        for one in around.values():
            stack.enter_context(one.register_forward_pre_hook(lambda running, _args: self._running.append(running)))
            stack.enter_context(one.register_forward_hook(lambda *_: self._leave(), always_call=True))

    def _leave(self) -> None:
        self._running.pop()

    def meant(self, points: Iterable[str]) -> Iterable[str]:
        """Choose among the points of one module those that a call is of."""
        points = list(points)
        name = points[0].removesuffix(INPUT)
        if name not in self._shared or not self._running:
            return points
        here = {one for one in self._shared[name] if self._around(one) is self._running[-1]}
        return [point for point in points if point.removesuffix(INPUT) in here] if here else points
