"""Ways of doing the same that take turns: what counts is the ratio within a round."""

from __future__ import annotations

import os
import platform
import statistics
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["machine", "ratio", "take_turns"]


def take_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, *, before: Callable[[], object] | None = None
) -> dict[str, list[float]]:
    """Time every way once a round, after a first round that only warms up.

    Args:
        ways: Names to what is timed.
        rounds: How many rounds count.
        before: Called before each turn, not timed.

    Returns:
        Names to seconds, one per round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            if before is not None:
                before()
            begin = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def ratio(times: list[float], others: list[float]) -> str:
    """Say how one way compares with another: the median over the rounds, and the extremes."""
    ratios = sorted(one / other for one, other in zip(times, others, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def machine() -> str:
    """Describe where it was measured."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
