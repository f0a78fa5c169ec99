"""What was measured, as Markdown: the tables of docs/speed.md and the short one of README."""

from __future__ import annotations

import os
import platform
import re
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rounds import ratios

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Goal", "Table", "compare", "goals_table", "machine", "markdown", "put_between"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A promise about cost, and what was measured.

    Attributes:
        work: What is done.
        against: What it is compared with.
        measured: One number a round: a ratio, or seconds more; none if it could not be measured.
        bound: What the median is to be.
        kind: Whether it is to be at most that, at least that, or at most so many seconds more.
    """

    work: str
    against: str
    measured: Sequence[float]
    bound: float
    kind: Literal["at most", "at least", "seconds more"] = "at most"

    @property
    def met(self) -> bool:
        """Whether the median keeps within the bound."""
        if not self.measured:
            return False
        median = statistics.median(self.measured)
        return median >= self.bound if self.kind == "at least" else median <= self.bound

    def cells(self) -> list[str]:
        """Say it in the columns of ``goals_table``."""
        more = self.kind == "seconds more"
        bound = f"+{self.bound:.2f} s" if more else f"{self.kind} {self.bound:.2f}"
        measured = "not measured"
        if self.measured:
            measured = spread(self.measured, sign="+" if more else "") + (" s" if more else "")
        return [self.work, self.against, measured, bound, "yes" if self.met else "**no**"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One group of measurements.

    Attributes:
        columns: Headings.
        lines: Cells, a list a line.
        goals: The promises that it bears on.
        notes: What could not be measured, and why; and what else is to be said.
        rounds: How many rounds there were.
    """

    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    rounds: int
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        """Write it with its notes and the number of rounds below."""
        count = "one round" if self.rounds == 1 else f"{self.rounds} rounds"
        return "\n\n".join([markdown(self.columns, self.lines), *self.notes, f"{count[0].upper()}{count[1:]}."])


def compare(costs: Mapping[str, list[float]], bases: Iterable[str], digits: int = 2) -> list[list[str]]:
    """Make a line for each way: its median cost, and its ratio to each of some other ways."""
    bases = list(bases)
    return [
        [name, f"{statistics.median(own):.{digits}f}", *(spread(ratios(own, costs[base])) for base in bases)]
        for name, own in costs.items()
    ]


def spread(numbers: Sequence[float], sign: str = "") -> str:
    """Say the median and, of several different numbers, the least and the most.

    >>> spread([1.0, 3.0, 1.5]), spread([0.0834], sign="+")
    ('1.50 (1.00 to 3.00)', '+0.08')
    """
    median, least, most = (f"{number:{sign}.2f}" for number in (statistics.median(numbers), min(numbers), max(numbers)))
    return median if least == most else f"{median} ({least} to {most})"


def goals_table(goals: Iterable[Goal]) -> str:
    """Make README's table."""
    return markdown(
        ["work", "against", "ratio, median (least to most)", "wanted", "met"], [one.cells() for one in goals]
    )


def markdown(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Lay out a table."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine() -> str:
    """Describe where it was measured."""
    name, memory = platform.processor() or platform.machine(), ""
    if (about := Path("/proc/cpuinfo")).exists():
        found = re.search(r"^model name\s*: (.+)$", about.read_text(), flags=re.MULTILINE)
        name = found[1].strip() if found else name
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    software = ", ".join([f"Python {platform.python_version()}", f"torch {version('torch')}"])
    return f"{name}, {os.cpu_count()} cores{memory}, {platform.system()}, {software}"


def put_between(page: Path, name: str, text: str) -> bool:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->`` in a page.

    Returns:
        Whether the page has that place.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if found and closed:
        page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    return bool(found and closed)
