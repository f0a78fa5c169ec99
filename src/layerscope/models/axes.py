"""Which axes of a layer's output are channels, and which are places in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from layerscope.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Axes", "Kind", "read_axes"]

Kind: TypeAlias = Literal["numbers", "line", "tokens", "maps", "volume"]

MOST_APART = 8
"""More tokens than this beside a grid (class, distillation and register tokens) make it no grid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """How one frame's output is to be read.

    Attributes:
        kind: ``numbers`` one a channel; a ``line`` a channel; ``tokens`` that lie on a grid; ``maps``; or a
            ``volume``: a row of maps a channel.
        order: The output's axes in the order channels, then depth, rows and columns as far as there are any.
        channels: How many channels.
        cells: Length, or rows and columns, or depth, rows and columns; none for numbers.
        apart: How many tokens before the others belong to no place: class and register tokens.
    """

    kind: Kind
    order: tuple[int, ...]
    channels: int
    cells: tuple[int, ...]
    apart: int = 0

    @property
    def text(self) -> str:
        """Say it in words.

        >>> read_axes((197, 768), (224, 224)).text
        '768 channels of 14 x 14 tokens, 1 token apart'
        """
        noun = "channel" if self.channels == 1 else "channels"
        cells = " x ".join(map(str, self.cells[-2:])) or "1 x 1"
        apart = f", {self.apart} token{'s' if self.apart > 1 else ''} apart" if self.apart else ""
        if self.kind == "volume":
            cells = f"{self.cells[0]} slices of {cells}"
        unit = {"line": " values", "tokens": " tokens"}.get(self.kind, "")
        return f"{self.channels} {noun} of {cells}{unit}{apart}"


def read_axes(shape: Sequence[int], input_hw: tuple[int, int] | None) -> Axes:
    """Tell channels from places by how the shape fits the input.

    Networks keep channels first, (C, H, W), or last, (H, W, C), and transformers have tokens, (N, C): what fits the
    input's height and width by one whole stride are the rows and columns. Where nothing fits, channels come first.

    Args:
        shape: Of one frame's output, batch axis dropped.
        input_hw: Height and width of the network's input; None where it takes no picture.

    Raises:
        LayerError: The rank is above 4.
    """
    rank = len(shape)
    if rank > 4:
        raise LayerError(f"shape {tuple(shape)} has more axes than channels, depth, rows and columns")
    if rank < 2:
        return Axes(kind="numbers", order=tuple(range(rank)), channels=shape[0] if rank else 1, cells=())
    if rank == 2:
        return _tokens(shape, input_hw) or Axes(kind="line", order=(0, 1), channels=shape[0], cells=(shape[1],))
    last = _are_last(shape, input_hw)
    order = (rank - 1, *range(rank - 1)) if last else tuple(range(rank))
    channels, *cells = (shape[axis] for axis in order)
    return Axes(kind="maps" if rank == 3 else "volume", order=order, channels=channels, cells=tuple(cells))


def _tokens(shape: Sequence[int], input_hw: tuple[int, int] | None) -> Axes | None:
    """Find a grid for (N, C) tokens, or (C, N), with as few as possible left over."""
    if input_hw is None:
        return None
    for order in ((1, 0), (0, 1)):
        channels, count = shape[order[0]], shape[order[1]]
        fitting = [(rest, grid) for grid, most in _grids(input_hw) if 0 <= (rest := count - grid[0] * grid[1]) <= most]
        rest, grid = min(fitting, default=(0, (0, 0)))
        if grid[0] * grid[1] >= max(4, 2 * rest):
            return Axes(kind="tokens", order=order, channels=channels, cells=grid, apart=rest)
    return None


def _grids(input_hw: tuple[int, int]) -> set[tuple[tuple[int, int], int]]:
    """List the grids of square patches that an input is cut into, each with how many tokens may be left over.

    Patches that do not fill the input, so that a rest at its edges is dropped, are rare: there little else is
    allowed, for some grid comes near almost any number.
    """
    (height, width), strides = input_hw, range(2, min(input_hw) // 2 + 1)
    return {
        ((height // stride, width // stride), MOST_APART if height % stride == 0 == width % stride else 1)
        for stride in strides
    }


def _are_last(shape: Sequence[int], input_hw: tuple[int, int] | None) -> bool:
    """Tell whether channels come last: rows and columns fit there better than at the end."""
    if input_hw is None:
        return False
    first, last = (_fit(shape[-2:], input_hw), _fit(shape[-3:-1], input_hw))
    return last > first


def _fit(cells_hw: Sequence[int], input_hw: tuple[int, int]) -> int:
    """Say how well rows and columns fit an input: 2 by one whole stride, 1 by their proportion, 0 not."""
    (rows, columns), (height, width) = cells_hw, input_hw
    if rows and columns and height % rows == 0 == width % columns and height // rows == width // columns:
        return 2
    return int(abs(rows * width - columns * height) <= max(height, width))
