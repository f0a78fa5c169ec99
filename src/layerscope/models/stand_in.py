"""Modules that stand for layers which run elsewhere, and are called with what these gave."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

__all__ = ["StandIn", "place", "stand_in"]


class StandIn(nn.Module):
    """Gives what it is called with, so that hooks on it see the value; modules inside of it are its parts."""

    def forward(self, value: Any) -> Any:
        """Give the value itself."""
        return value


def stand_in(kind: str) -> StandIn:
    """Make one that is listed, and can be chosen, by the class name of what it stands for."""
    return _class_of(kind)()


@cache
def _class_of(kind: str) -> type[StandIn]:
    return type(kind, (StandIn,), {"__doc__": f"Stands for a {kind} that runs elsewhere."})


def place(root: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """Put a module at a path, and return it; what is around it and not there yet never runs.

    It goes past ``add_module``, which refuses names that modules have themselves, such as ``type``.
    """
    parent = root
    *around, last = path.split(".")
    for name in around:
        inner = parent._modules.get(name)
        if inner is None:
            inner = parent._modules[name] = nn.ModuleDict()
        parent = inner
    parent._modules[last] = part
    return part
