"""Every layer's output shape and cost, worked out from the cfg alone, before any memory is taken.

:func:`plan` reads the sections one after another, each by the reader of its kind, and checks all that can
be checked: options, references to other layers, shapes, and that nothing is absurdly large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.errors import nearest
from layerscope.models.darknet.layers import ACTIVATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from layerscope.models.darknet.cfg import Config, Section
    from layerscope.models.heads import Head
    from layerscope.models.layout import WeightSlot

__all__ = ["Place", "Shape", "Step", "plan"]

Shape = tuple[int, int, int]

# What one network may ask for; the largest published ones stay ten times below.
LARGEST_PARAMETER_COUNT = 2**30
LARGEST_LAYER_NUMBERS = 2**29
LARGEST_LAYER_WORK = 2**43


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
            (length + padding - size) // stride + 1
            for length, stride in zip((height, width), stride_yx, strict=True)
        )
        return rows, columns


def plan(
    config: Config,
    readers: Mapping[str, Callable[[Place], Step]],
    size_hw: tuple[int, int] | None = None,
    bn_eps: float = 1e-5,
) -> tuple[Shape, tuple[Step, ...]]:
    """Work out every layer of a network.

    Args:
        config: The cfg.
        readers: For each section's kind the function that reads it.
        size_hw: Height and width of the input; the cfg's own where it is None.
        bn_eps: What batch norm adds to the variance.

    Returns:
        The input's shape (C, H, W), and one step per section.

    Raises:
        ConfigError: Something in the cfg cannot be built; the message names file, line and section.
    """
    shapes = [_input_shape(config.net, size_hw)]
    steps: list[Step] = []
    parameters = 0
    for section in config.sections:
        reader = readers.get(section.kind)
        if reader is None:
            raise section.error(f"no such layer is known here{nearest(section.kind, readers)}")
        before = config.sections[section.index - 1].name if section.index else None
        step = reader(Place(section=section, shapes=shapes, name_before=before, bn_eps=bn_eps))
        parameters += step.parameters
        _check_limits(section, step, parameters)
        shapes.append(step.shape)
        steps.append(step)
    return shapes[0], tuple(steps)


def _input_shape(net: Section, size_hw: tuple[int, int] | None) -> Shape:
    if size_hw is None:
        size_hw = (net.integer("height", low=1), net.integer("width", low=1))
    elif min(size_hw) < 1:
        raise net.error(f"the size {size_hw[0]} x {size_hw[1]} (height x width) must be at least 1 x 1")
    shape = (net.integer("channels", 3, low=1), *size_hw)
    _check_numbers(net, "the input", shape)
    return shape


def _check_limits(section: Section, step: Step, parameters: int) -> None:
    _check_numbers(section, "its output", step.shape)
    if parameters > LARGEST_PARAMETER_COUNT:
        raise section.error(
            f"with its {step.parameters} parameters the network has {parameters}, "
            f"more than the {LARGEST_PARAMETER_COUNT} that are built here"
        )
    if step.work > LARGEST_LAYER_WORK:
        raise section.error(
            f"it takes {step.work} multiplications a picture, more than the {LARGEST_LAYER_WORK} allowed here"
        )


def _check_numbers(section: Section, what: str, shape: Shape) -> None:
    if math.prod(shape) > LARGEST_LAYER_NUMBERS:
        size = " x ".join(map(str, shape))
        raise section.error(
            f"{what} would be {size} numbers, more than the {LARGEST_LAYER_NUMBERS} that are built here"
        )
