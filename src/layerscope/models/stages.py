"""The stages of any network: its last layer at each size on the way down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from layerscope.models.survey import Layer

__all__ = ["find_stages"]

HEADS = frozenset(("aux_classifier", "classifier", "decoder", "fc", "fpn", "head", "heads", "neck", "roi_heads", "rpn"))
"""What the parts behind a backbone are commonly called."""


def find_stages(layers: Sequence[Layer], modules: Collection[str]) -> tuple[str, ...]:
    """Find the last layer at each stride, from the input to where the maps are smallest.

    Of the layers of one stride the outermost modules count, such as ``layer1`` and not what is inside it, and of
    these the last. Where maps grow again, a neck or a decoder begins, and the stages end.

    Args:
        layers: All layers, in the order in which they finish.
        modules: The names of the network's modules: items of their outputs and operations are no stages.
    """
    seen = [(name, layer) for layer in layers if (name := layer.name.partition(":")[0]) in modules and _has_map(layer)]
    backbone: dict[tuple[int, int], list[str]] = {}
    deepest = (0, 0)
    for at, (name, layer) in enumerate(seen):
        stride = layer.stride or deepest
        if stride[0] < deepest[0] or stride[1] < deepest[1]:
            if _ends_deeper(name, deepest, seen[at + 1 :]):
                continue  # inside of a block that goes down in the end
            break
        deepest = stride
        backbone.setdefault(stride, []).append(name)
    without_heads = [kept for names in backbone.values() if (kept := [one for one in names if not _is_head(one)])]
    return tuple(map(_last_of_the_outermost, without_heads or backbone.values()))


def _has_map(layer: Layer) -> bool:
    """Leave out what has no rows and columns, and what squeezes them to one cell and goes back."""
    if layer.stride is None or layer.shape is None:
        return False
    return layer.shape[-2:] != (1, 1) and not (len(layer.shape) == 3 and layer.shape[:2] == (1, 1))


def _ends_deeper(name: str, deepest: tuple[int, int], later: Sequence[tuple[str, Layer]]) -> bool:
    """Tell whether a module around a layer gives maps as small as the smallest so far."""
    around = (other for other in later if name.startswith(f"{other[0]}."))
    return any(layer.stride is not None and layer.stride >= deepest for _, layer in around)


def _is_head(name: str) -> bool:
    return name.partition(".")[0] in HEADS


def _last_of_the_outermost(names: list[str]) -> str:
    outermost = min(name.count(".") for name in names)
    return [name for name in names if name.count(".") == outermost][-1]
