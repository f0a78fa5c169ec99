"""The sections of a cfg that read earlier layers, and the detection layers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from layerscope.models.darknet import joins
from layerscope.models.darknet.decode import Detection
from layerscope.models.darknet.step import Step
from layerscope.models.heads import Head
from layerscope.models.layout import WeightSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from layerscope.models.darknet.step import Place

__all__ = ["REFERENCES"]


def _route(place: Place) -> Step:
    section = place.section
    sources = tuple(place.reference("layers", value) for value in section.integers("layers"))
    groups = section.integer("groups", 1, low=1)
    group_id = section.integer("group_id", 0, high=groups - 1)
    shapes = [place.shape_of(source) for source in sources]
    for source, shape in zip(sources, shapes, strict=True):
        if shape[1:] != shapes[0][1:]:
            raise section.error(
                f"layer {source} gives {_size(shape)}, layer {sources[0]} {_size(shapes[0])}; "
                "their channels can only be joined where height and width are equal",
                "layers",
            )
        if shape[0] % groups:
            raise section.error(f"groups={groups} does not divide the {shape[0]} channels of layer {source}", "groups")
    channels = sum(shape[0] for shape in shapes) // groups
    make = partial(joins.Route, groups, group_id)
    return Step(sources=sources, shape=(channels, *shapes[0][1:]), make=make)


def _shortcut(place: Place) -> Step:
    section = place.section
    sources = tuple(place.reference("from", value) for value in section.integers("from"))
    for option in ("alpha", "beta"):
        section.number(option, 1.0, low=1, high=1)  # only one of the two Darknets follows them
    for source in sources:
        if place.shape_of(source)[1:] != place.before[1:]:
            raise section.error(
                f"layer {source} gives {_size(place.shape_of(source))}, the layer before "
                f"{_size(place.before)}; they can only be added where height and width are equal",
                "from",
            )
    activation = place.activation()
    sources = (place.index - 1, *sources)
    kinds = ("none", "per_feature", "per_layer", "per_channel")
    kind = section.text("weights_type", "none", choices=kinds)
    if kind == "none":
        make: Callable[[], nn.Module] = lambda: joins.Shortcut(activation())  # noqa: E731
        return Step(sources=sources, shape=place.before, make=make)
    return _weighted_shortcut(place, sources, kind, activation)


def _weighted_shortcut(place: Place, sources: tuple[int, ...], kind: str, activation: Callable[[], nn.Module]) -> Step:
    section = place.section
    choices = ("none", "relu", "avg_relu", "softmax")
    written = section.text("weights_normalization", "none", choices=choices)
    normalization = cast("Literal['none', 'relu', 'softmax']", written.removeprefix("avg_"))
    channels = place.before[0] if kind == "per_channel" else 1
    return Step(
        sources=sources,
        shape=place.before,
        make=lambda: joins.WeightedShortcut(len(sources), channels, normalization, activation()),
        parameters=len(sources) * channels,
        slot=WeightSlot(section=place.index, keys=(f"{section.name}.weight",)),
    )


def _scale_channels(place: Place) -> Step:
    source, shape = _only_source(place)
    factor = (1, *shape[1:]) if place.section.flag("scale_wh") else (shape[0], 1, 1)
    if place.before != factor:
        raise place.section.error(
            f"the layer before gives {_size(place.before)}, wanted is {_size(factor)} "
            f"to scale layer {source} of {_size(shape)}"
        )
    activation = place.activation()
    return Step(sources=(place.index - 1, source), shape=shape, make=lambda: joins.ScaleChannels(activation()))


def _sam(place: Place) -> Step:
    source, shape = _only_source(place)
    if place.before != shape:
        raise place.section.error(
            f"layer {source} gives {_size(shape)}, the layer before {_size(place.before)}; they must be equal",
            "from",
        )
    activation = place.activation()
    return Step(sources=(place.index - 1, source), shape=shape, make=lambda: joins.Sam(activation()))


def _only_source(place: Place) -> tuple[int, tuple[int, int, int]]:
    values = place.section.integers("from")
    if len(values) > 1:
        raise place.section.error(f"from= wants one layer, not {len(values)}", "from")
    source = place.reference("from", values[0])
    return source, place.shape_of(source)


def _yolo(place: Place) -> Step:
    section = place.section
    section.refuse("map")
    pairs = _anchor_pairs(place)
    if "mask" in section.options:
        mask = section.integers("mask", low=0, high=len(pairs) - 1)
    else:
        mask = tuple(range(len(pairs)))
    head = Head(
        layer=_layer_before(place),
        stride=_stride_px(place),
        anchors=tuple(pairs[index] for index in mask),
        classes=section.integer("classes", 20, low=1),
        scale_x_y=section.number("scale_x_y", 1.0, low=0.0, high=100.0),
        squashed=section.flag("new_coords"),
        sizes="square" if section.flag("new_coords") else "exp",
    )
    return _detection(place, head)


def _region(place: Place) -> Step:
    section = place.section
    section.refuse("tree", "map", "background")
    section.integer("coords", 4, low=4, high=4)
    stride = _stride_px(place)
    head = Head(
        layer=_layer_before(place),
        stride=stride,
        anchors=tuple((width * stride, height * stride) for width, height in _anchor_pairs(place)),
        classes=section.integer("classes", 20, low=1),
        kind="region" if section.flag("softmax") else "yolo",
    )
    return _detection(place, head)


def _anchor_pairs(place: Place) -> tuple[tuple[float, float], ...]:
    """Read ``num`` anchors, in the cfg's own unit."""
    section = place.section
    numbers = section.numbers("anchors", low=1e-6, high=1e6)
    if len(numbers) % 2:
        raise section.error(f"anchors= are pairs of width and height, and {len(numbers)} numbers came", "anchors")
    count = section.integer("num", 1, low=1)
    if count * 2 > len(numbers):
        raise section.error(f"num={count} anchors need {count * 2} numbers, and {len(numbers)} came", "num")
    return tuple(zip(numbers[: 2 * count : 2], numbers[1 : 2 * count : 2], strict=True))


def _layer_before(place: Place) -> str:
    if place.name_before is None:
        raise place.section.error("a detection layer needs a layer before it")
    return place.name_before


def _stride_px(place: Place) -> int:
    """Give the input pixels per cell, which must be one whole number for height and width."""
    _, input_height, input_width = place.input_shape
    _, height, width = place.before
    stride = input_height // height
    if stride < 1 or (height * stride, width * stride) != (input_height, input_width):
        raise place.section.error(
            f"its {height} x {width} cells do not divide the input of {input_height} x {input_width} pixels; "
            "choose a height and width that are multiples of the network's largest stride (usually 32)"
        )
    return stride


def _detection(place: Place, head: Head) -> Step:
    if head.channels != place.before[0]:
        raise place.section.error(
            f"{len(head.anchors)} anchors and {head.classes} classes read "
            f"{len(head.anchors)} x (5 + {head.classes}) = {head.channels} channels, "
            f"and the layer before gives {place.before[0]}"
        )
    make = partial(Detection, head)
    return Step(sources=(place.index - 1,), shape=place.before, make=make, head=head)


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


REFERENCES: Mapping[str, Callable[[Place], Step]] = {
    "region": _region,
    "route": _route,
    "sam": _sam,
    "scale_channels": _scale_channels,
    "shortcut": _shortcut,
    "yolo": _yolo,
}
