"""The sections of a cfg with one input: each reader checks the options and plans the layer.

Defaults are Darknet's own (``src/parser.c``), such as the logistic activation of a
convolution that names none.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from layerscope.models.darknet import layers
from layerscope.models.darknet.step import Step
from layerscope.models.layout import WeightSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from layerscope.models.darknet.step import Place

__all__ = ["SECTIONS"]

# Options of AlexeyAB's convolution that change its result and that nearly no published cfg has.
UNUSUAL = (
    "antialiasing",
    "binary",
    "bin_output",
    "coordconv",
    "dontloadscales",
    "flipped",
    "rotate",
    "share_index",
    "stretch",
    "stretch_sway",
    "sway",
    "xnor",
)


def _strides_yx(place: Place) -> tuple[int, int]:
    """Read ``stride_y=`` and ``stride_x=``, either of which falls back to ``stride=``."""
    section = place.section
    stride = section.integer("stride", 1, low=1)
    return section.integer("stride_y", stride, low=1), section.integer("stride_x", stride, low=1)


def _convolutional(place: Place) -> Step:
    section = place.section
    section.refuse(*UNUSUAL)
    channels, filters = place.before[0], section.integer("filters", 1, low=1)
    groups = section.integer("groups", 1, low=1)
    size = section.integer("size", 1, low=1)
    stride_yx = _strides_yx(place)
    padding = size // 2 if section.flag("pad") else section.integer("padding", 0)
    dilation = 1 if size == 1 else section.integer("dilation", 1, low=1)
    if channels % groups or filters % groups:
        raise section.error(
            f"groups={groups} does not divide its {channels} input channels and {filters} filters", "groups"
        )
    if dilation > 1 and 2 * padding != size - 1:
        raise section.error(f"dilation={dilation} wants an odd size with pad=1, not size={size}", "dilation")
    rows, columns = place.windows(size, 2 * padding, stride_yx)
    normalized = section.flag("batch_normalize") or section.flag("cbn")
    weights = filters * (channels // groups) * size * size

    activation = place.activation("logistic")

    def make() -> nn.Module:
        conv = nn.Conv2d(
            channels,
            filters,
            size,
            stride=stride_yx,
            padding=padding * dilation,
            dilation=dilation,
            groups=groups,
            bias=not normalized,
        )
        norm = nn.BatchNorm2d(filters, eps=place.bn_eps) if normalized else None
        return layers.Convolutional(conv, norm, activation())

    name = section.name
    return Step(
        sources=(place.index - 1,),
        shape=(filters, rows, columns),
        make=make,
        parameters=weights + filters * (4 if normalized else 1),
        work=weights * rows * columns,
        slot=WeightSlot.of_convolution(place.index, f"{name}.conv", f"{name}.norm" if normalized else None),
    )


def _connected(place: Place) -> Step:
    section = place.section
    inputs, outputs = math.prod(place.before), section.integer("output", 1, low=1)
    normalized = section.flag("batch_normalize")
    activation = place.activation("logistic")

    def make() -> nn.Module:
        norm = nn.BatchNorm1d(outputs, eps=place.bn_eps) if normalized else None
        return layers.Connected(nn.Linear(inputs, outputs, bias=not normalized), norm, activation())

    linear, norm = f"{section.name}.linear", f"{section.name}.norm"
    keys: tuple[str, ...] = (f"{linear}.bias", f"{linear}.weight")
    if normalized:  # unlike a convolution's, its weights come before scale, mean and variance
        stored = ("weight", "running_mean", "running_var")
        keys = (f"{norm}.bias", f"{linear}.weight", *(f"{norm}.{part}" for part in stored))
    return Step(
        sources=(place.index - 1,),
        shape=(outputs, 1, 1),
        make=make,
        parameters=inputs * outputs + outputs * (4 if normalized else 1),
        work=inputs * outputs,
        slot=WeightSlot(section=place.index, keys=keys, conv=linear, norm=norm if normalized else None),
    )


def _batchnorm(place: Place) -> Step:
    channels = place.before[0]
    name = place.section.name
    stored = ("bias", "weight", "running_mean", "running_var")
    return Step(
        sources=(place.index - 1,),
        shape=place.before,
        make=partial(nn.BatchNorm2d, channels, eps=place.bn_eps),
        parameters=4 * channels,
        slot=WeightSlot(section=place.index, keys=tuple(f"{name}.{part}" for part in stored), norm=name),
    )


def _pool(module: Callable[[int, tuple[int, int], int], nn.Module], place: Place) -> Step:
    section = place.section
    section.refuse("antialiasing", "maxpool_depth", "maxpool_zero_nonmax")
    channels, height, width = place.before
    stride_yx = _strides_yx(place)
    size = section.integer("size", section.integer("stride", 1, low=1), low=1)
    padding = section.integer("padding", size - 1)
    if padding - padding // 2 >= size:
        raise section.error(f"padding={padding} leaves windows of size={size} with nothing inside", "padding")
    rows, columns = place.windows(size, padding, stride_yx)
    padded = channels * (height + padding) * (width + padding)
    return Step(
        sources=(place.index - 1,),
        shape=(channels, rows, columns),
        make=partial(module, size, stride_yx, padding),
        work=max(padded, channels * rows * columns) * size * size,
    )


def _avgpool(place: Place) -> Step:
    shape = (place.before[0], 1, 1)
    return Step(sources=(place.index - 1,), shape=shape, make=layers.AveragePool)


def _upsample(place: Place) -> Step:
    stride = place.section.integer("stride", 2, low=1)
    scale = place.section.number("scale", 1.0)
    channels, height, width = place.before
    return Step(
        sources=(place.index - 1,),
        shape=(channels, height * stride, width * stride),
        make=partial(layers.Upsample, stride, scale),
    )


def _reorg(module: Callable[[int], nn.Module], place: Place) -> Step:
    section = place.section
    section.refuse("reverse", "flatten", "extra")
    stride = section.integer("stride", 1, low=1)
    channels, height, width = place.before
    if height % stride or width % stride:
        raise section.error(f"stride={stride} does not divide its input of {height} x {width}", "stride")
    if module is layers.Reorg and channels % stride**2:
        raise section.error(f"stride={stride} wants a multiple of {stride**2} channels, not {channels}", "stride")
    return Step(
        sources=(place.index - 1,),
        shape=(channels * stride**2, height // stride, width // stride),
        make=partial(module, stride),
    )


def _softmax(place: Place) -> Step:
    section = place.section
    section.refuse("tree")
    groups = section.integer("groups", 1, low=1)
    numbers = math.prod(place.before)
    if numbers % groups:
        raise section.error(f"groups={groups} does not divide its {numbers} inputs", "groups")
    temperature = section.number("temperature", 1.0, low=1e-6)
    make = partial(layers.Softmax, groups, temperature, section.flag("spatial"))
    return Step(sources=(place.index - 1,), shape=place.before, make=make)


def _crop(place: Place) -> Step:
    section = place.section
    channels, height, width = place.before
    size_hw = (
        section.integer("crop_height", 1, low=1, high=height),
        section.integer("crop_width", 1, low=1, high=width),
    )
    make = partial(layers.Crop, size_hw, not section.flag("noadjust"))
    return Step(sources=(place.index - 1,), shape=(channels, *size_hw), make=make)


def _activation(place: Place) -> Step:
    return Step(sources=(place.index - 1,), shape=place.before, make=place.activation())


def _identity(place: Place) -> Step:
    """Plan what does nothing at inference."""
    return Step(sources=(place.index - 1,), shape=place.before, make=nn.Identity)


SECTIONS: Mapping[str, Callable[[Place], Step]] = {
    "activation": _activation,
    "avgpool": _avgpool,
    "batchnorm": _batchnorm,
    "connected": _connected,
    "convolutional": _convolutional,
    "cost": _identity,
    "crop": _crop,
    "dropout": _identity,
    "empty": _identity,
    "local_avgpool": partial(_pool, layers.LocalAveragePool),
    "maxpool": partial(_pool, layers.MaxPool),
    "reorg": partial(_reorg, layers.Reorg),
    "reorg3d": partial(_reorg, layers.Reorg3d),
    "softmax": _softmax,
    "upsample": _upsample,
}
