"""Every layer's output shape and cost, worked out from the cfg alone, before any memory is taken.

:func:`plan` reads the sections one after another, each by the reader of its kind, and checks all that can
be checked: options, references to other layers, shapes, and that nothing is absurdly large.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from layerscope.errors import ConfigError, OptionError, nearest
from layerscope.models.darknet.references import REFERENCES
from layerscope.models.darknet.sections import SECTIONS
from layerscope.models.darknet.step import Place, Shape, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from layerscope.models.darknet.cfg import Config
    from layerscope.models.darknet.section import Section

__all__ = ["check_size", "plan"]

# What one network may ask for; the largest published ones stay ten times below.
LARGEST_PARAMETER_COUNT = 2**30
LARGEST_LAYER_NUMBERS = 2**29
LARGEST_LAYER_WORK = 2**43

READERS: Mapping[str, Callable[[Place], Step]] = {**SECTIONS, **REFERENCES}


def plan(
    config: Config, size_hw: tuple[int, int] | None = None, bn_eps: float = 1e-5
) -> tuple[Shape, tuple[Step, ...]]:
    """Work out every layer of a network.

    Args:
        config: The cfg.
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
        reader = READERS.get(section.kind)
        if reader is None:
            raise section.error(f"no such layer is known here{nearest(section.kind, READERS)}")
        before = config.sections[section.index - 1].name if section.index else None
        step = reader(Place(section=section, shapes=shapes, name_before=before, bn_eps=bn_eps))
        parameters += step.parameters
        _check_limits(section, step, parameters)
        shapes.append(step.shape)
        steps.append(step)
    return shapes[0], tuple(steps)


def check_size(config: Config, size_hw: tuple[int, int]) -> None:
    """Check that pictures of another size can run through the network.

    Args:
        config: The cfg.
        size_hw: Height and width of the input.

    Raises:
        OptionError: A layer cannot work on that size; the message names it.
    """
    size = f"size {size_hw[0]}x{size_hw[1]}"
    try:
        _, steps = plan(config, size_hw)
    except ConfigError as error:
        raise OptionError(f"{size}: {error}") from error
    for section, step in zip(config.sections, steps, strict=True):
        if section.kind == "connected" and step.parameters != plan(config)[1][section.index].parameters:
            raise OptionError(f"{size}: {section.error('its weights only fit the size in the cfg')}")


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
