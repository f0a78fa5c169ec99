"""Hooks that leave nothing behind."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from torch import nn

    Heard = Callable[[str, int, Any], None]

__all__ = ["named_layers", "watch"]


def named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """List every submodule under every name that it has, in order of definition, the module itself left out."""
    return {name: child for name, child in module.named_modules(remove_duplicate=False) if name}


@contextmanager
def watch(module: nn.Module, layers: Iterable[str], heard: Heard) -> Iterator[Mapping[str, int]]:
    """Hear of every output of some layers while the body runs.

    However the body ends, and also if a registration fails midway, no hook stays and every module's
    ``training`` flag is put back.

    Args:
        module: The network.
        layers: Dotted names of submodules.
        heard: Called with the layer's name, the ordinal of the call (from 0) and its output as it is, before
            anything else can write to it. What it returns is ignored, so outputs are never replaced.

    Yields:
        How often each layer was called so far.
    """
    found = named_layers(module)
    calls = dict.fromkeys(layers, 0)

    def hook_for(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            ordinal = calls[name]
            calls[name] += 1
            heard(name, ordinal, output)

        return hook

    with ExitStack() as stack:
        for child in module.modules():
            stack.callback(setattr, child, "training", child.training)
        for name in calls:
            stack.enter_context(found[name].register_forward_hook(hook_for(name)))
        yield calls
