"""The stages of any network: its last layer at each size on the way down."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from layerscope.models.survey import Layer

__all__ = ["find_stages"]


def find_stages(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Find the last layer at each stride, from the input to where the maps are smallest.

    Of the layers of one stride the outermost modules count, such as ``layer1`` and not what is inside it, and of
    these the last. Where maps grow again, a neck or a decoder begins, and the stages end.

    Args:
        layers: All layers, in the order in which they finish.
    """
    backbone: dict[tuple[int, int], list[Layer]] = {}
    deepest = (0, 0)
    for layer in layers:
        stride = layer.stride
        if stride is None or layer.shape is None or layer.shape[-2:] == (1, 1):
            continue  # no map, or what squeezes one and goes back
        if stride[0] < deepest[0] or stride[1] < deepest[1]:
            if _depth(layer) <= min(_depth(one) for one in backbone[deepest]):
                break
            continue  # inside a block whose end is still to come
        deepest = stride
        backbone.setdefault(stride, []).append(layer)
    chosen = []
    for same in backbone.values():
        outermost = min(map(_depth, same))
        chosen.append([layer.name for layer in same if _depth(layer) == outermost][-1])
    return tuple(name.partition(":")[0] if name.endswith(":0") else name for name in chosen)


def _depth(layer: Layer) -> int:
    return layer.name.count(".")
