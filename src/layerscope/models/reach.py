"""Which pixels of the input a cell sees: intervals, and what windows and branches make of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["EVERYTHING", "Axis", "Reach"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What cells see along one axis, exactly.

    Where cells lie less than a pixel's step apart, as after an upsampling, they take turns: each of ``spans``
    cells sees an interval of its own, and the next so many see the same ones farther on.

    Attributes:
        spans: First and last input pixel that cells 0, 1, ... see; the first behind the last where it is none.
        step: Input pixels from one such group of cells to the next.
    """

    spans: tuple[tuple[float, float], ...] = ((0, 0),)
    step: int = 1

    def at(self, cell: int) -> tuple[float, float]:
        """First and last input pixel that a cell sees; the input's edges are not heeded."""
        group, place = divmod(cell, len(self.spans))
        first, last = self.spans[place]
        return first + group * self.step, last + group * self.step

    def over(self, cells: Sequence[Iterable[int]], step: int) -> Axis:
        """See, with each of a group of new cells, what any of some cells sees."""
        seen = [[self.at(cell) for cell in together] or [NOWHERE] for together in cells]
        return Axis(tuple((min(one[0] for one in each), max(one[1] for one in each)) for each in seen), step)

    def windowed(self, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        """Slide a window over the cells."""
        group = len(self.spans) // math.gcd(len(self.spans), stride)
        starts = [cell * stride - padding for cell in range(group)]
        windows = [range(start, start + (kernel - 1) * dilation + 1, dilation) for start in starts]
        return self.over(windows, self.step * (group * stride // len(self.spans)))

    def spread(self, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
        """Lay a window down at every ``stride``-th of finer cells: the way back of `windowed`."""
        taps = [tap * dilation - padding for tap in range(kernel)]
        finer = range(len(self.spans) * stride)
        sources = [[(cell - tap) // stride for tap in taps if (cell - tap) % stride == 0] for cell in finer]
        return self.over(sources, self.step)

    def smoothed(self, factor: int) -> Axis:
        """Let finer cells, ``factor`` per cell, see the two whose centres they lie between, or the one they lie on."""
        doubled = [2 * cell + 1 - factor for cell in range(len(self.spans) * factor)]  # of 2 * factor per cell
        below = [divmod(place, 2 * factor) for place in doubled]
        return self.over([range(cell, cell + (2 if part else 1)) for cell, part in below], self.step)

    def joined(self, other: Axis) -> Axis | None:
        """See what either sees; None where their cells are not equally far apart."""
        group = math.lcm(len(self.spans), len(other.spans))
        step = self.step * (group // len(self.spans))
        if step != other.step * (group // len(other.spans)):
            return None
        pairs = [(self.at(cell), other.at(cell)) for cell in range(group)]
        return Axis(tuple((min(one[0], two[0]), max(one[1], two[1])) for one, two in pairs), step)

    @property
    def pixels(self) -> float:
        """How many input pixels lie between the first and the last one seen, by the cell that sees most."""
        return max(0, *(last - first + 1 for first, last in self.spans))


@dataclass(frozen=True, slots=True)
class Reach:
    """What one cell sees, down and across."""

    down: Axis
    across: Axis

    @property
    def size_hw(self) -> tuple[float, float]:
        """Height and width, input pixels; ``inf`` where it is everything."""
        return self.down.pixels, self.across.pixels

    def joined(self, other: Reach) -> Reach | None:
        """See what either sees; None where their cells are not equally far apart."""
        if EVERYTHING in (self, other):
            return EVERYTHING
        down, across = self.down.joined(other.down), self.across.joined(other.across)
        return None if down is None or across is None else Reach(down, across)


NOWHERE = (math.inf, -math.inf)
EVERYTHING = Reach(Axis(((-math.inf, math.inf),)), Axis(((-math.inf, math.inf),)))
