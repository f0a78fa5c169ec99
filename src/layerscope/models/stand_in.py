"""Modules that stand for layers which run elsewhere, and are called with what these gave."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn

__all__ = ["StandIn", "stand_in"]


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
