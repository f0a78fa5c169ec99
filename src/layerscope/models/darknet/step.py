"""What one section becomes: a planned layer, before any memory is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.models.darknet.layers import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from layerscope.models.darknet.section import Section
    from layerscope.models.heads import Head
    from layerscope.models.layout import WeightSlot

__all__ = ["Place", "Shape", "Step"]

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One layer of the plan.

    Attributes:
        sources: Indices of the layers that it is called with, in order; -1 is the network's input.
        shape: Its output, (C, H, W).
        make: Builds its module.
        parameters: How many numbers it learns.
        work: Multiplications, or comparisons, for one picture.
        slot: Where its weights lie in a ``.weights`` file, if it has any.
        head: How its input is read, if it is a detection layer.
    """

    sources: tuple[int, ...]
    shape: Shape
    make: Callable[[], nn.Module]
    parameters: int = 0
    work: int = 0
    slot: WeightSlot | None = None
    head: Head | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a section's reader may look at.

    Attributes:
        section: The section to read.
        shapes: Shape of the network's input, then of every layer before this one.
        name_before: Name of the layer before; None for the first.
        bn_eps: What batch norm adds to the variance.
    """

    section: Section
    shapes: Sequence[Shape]
    name_before: str | None
    bn_eps: float

    @property
    def index(self) -> int:
        """The section's index."""
        return self.section.index

    @property
    def before(self) -> Shape:
        """Shape that the layer before gives."""
        return self.shapes[-1]

    @property
    def input_shape(self) -> Shape:
        """Shape of the network's input."""
        return self.shapes[0]

    def reference(self, option: str, value: int) -> int:
        """Turn a layer's number as the cfg has it (negative: counted back from here) into its index."""
        index = value if value >= 0 else self.index + value
        if not 0 <= index < self.index:
            problem = "itself" if index == self.index else "no layer before it"
            raise self.section.error(
                f"{option}={value} refers to {problem}; it can reach 0 to {self.index - 1}, "
                f"or -1 to {-self.index} counted back"
                if self.index
                else f"{option}={value}: the first layer has none before it",
                option,
            )
        return index

    def shape_of(self, index: int) -> Shape:
        """Shape that an earlier layer gives."""
        return self.shapes[index + 1]

    def activation(self, default: str = "linear") -> Callable[[], nn.Module]:
        """Read ``activation=``."""
        return ACTIVATIONS[self.section.text("activation", default, choices=tuple(ACTIVATIONS))]

    def windows(self, size: int, padding: int, stride_yx: tuple[int, int]) -> tuple[int, int]:
        """Count the places of a square window in the layer before.

        Args:
            size: Side of the window, pixels.
            padding: Rows and columns added in all.
            stride_yx: Step of the window.

        Returns:
            Rows and columns of the output.

        Raises:
            ConfigError: The window does not fit even once.
        """
        _, height, width = self.before
        if min(height, width) + padding < size:
            raise self.section.error(
                f"a window of {size} x {size} does not fit into its input of {height} x {width} "
                f"with {padding} rows of padding in all"
            )
        rows, columns = (
            (length + padding - size) // stride + 1 for length, stride in zip((height, width), stride_yx, strict=True)
        )
        return rows, columns
