"""Ways of doing the same that take turns: what counts is the ratio within a round."""

from __future__ import annotations

import gc
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

__all__ = ["put_aside", "ratios", "take_turns", "timed"]


def take_turns(
    ways: Mapping[str, Callable[[], T]],
    rounds: int,
    *,
    before: Callable[[], object] = lambda: None,
    warm_up: bool = True,
) -> dict[str, list[T]]:
    """Call every way once a round; every other round in reverse, so that none always follows the same.

    Args:
        ways: Names to what measures itself.
        rounds: How many rounds count.
        before: Called before each turn.
        warm_up: Begin with a round that does not count.

    Returns:
        Names to what the ways returned, one a round.
    """
    results: dict[str, list[T]] = {name: [] for name in ways}
    for turn in range(-warm_up, rounds):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            before()
            gc.collect()
            result = ways[name]()
            if turn >= 0:
                results[name].append(result)
    return results


def timed(way: Callable[[], object]) -> Callable[[], float]:
    """Make a way return its seconds."""

    def measure() -> float:
        begin = time.perf_counter()
        way()
        return time.perf_counter() - begin

    return measure


def put_aside(*folders: str) -> None:
    """Take what turns before this one have written out of the way, without deleting it.

    Where many files were deleted a moment ago, some file systems make new ones ten times more slowly (ext4 steps over
    the places of all deleted ones for each), which is no way's own cost.
    """
    aside = Path("aside")
    aside.mkdir(exist_ok=True)
    for folder in map(Path, folders):
        if folder.exists():
            folder.rename(Path(tempfile.mkdtemp(dir=aside)) / folder.name)


def ratios(costs: list[float], others: list[float]) -> list[float]:
    """Divide one way's cost by another's, round by round."""
    return [one / other for one, other in zip(costs, others, strict=True)]
