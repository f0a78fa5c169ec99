"""Which layers of a Darknet network are its stages.

A stage is the last layer at each output size of the backbone, for every size below the input's; what an
``[avgpool]`` or ``[connected]`` has squeezed to one cell has no size in this sense. The backbone ends

1. in a network with shortcuts before its neck at the last of them (layer 74 of yolov3.cfg); where a route
   after it closes a CSP block around it, with a branch split off before that shortcut and at its size, at
   the layer that follows that route (layer 104 of yolov4.cfg);
2. else, in a detector, where neck and heads fork: at the last layer before the neck that a route of the
   neck reads and that has the smallest size (layer 13 of yolov3-tiny.cfg, 27 of yolov4-tiny.cfg), or,
   where no route reads such a layer, at the one before the raw head (yolov2-tiny);
3. else at the last layer that has a size.

The neck begins at the first ``[upsample]``, ``[reorg]``, ``[reorg3d]``, ``[yolo]`` or ``[region]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layerscope.models.darknet.cfg import Config
    from layerscope.models.darknet.step import Shape, Step

__all__ = ["find_stages"]

NECK = ("region", "reorg", "reorg3d", "upsample", "yolo")


def find_stages(config: Config, input_shape: Shape, steps: Sequence[Step]) -> tuple[int, ...]:
    """Find the stages' indices in the order in which the layers run.

    Args:
        config: The cfg.
        input_shape: The network's input, (C, H, W).
        steps: The planned layers.
    """
    sized = _sized(config, steps)
    end = _backbone_end(config, steps, sized)
    last_at: dict[tuple[int, int], int] = {}
    for index, step in enumerate(steps[: end + 1]):
        _, height, width = step.shape
        if sized[index] and height * width < input_shape[1] * input_shape[2]:
            last_at[height, width] = index
    return tuple(sorted(last_at.values()))


def _sized(config: Config, steps: Sequence[Step]) -> list[bool]:
    """Tell for each layer whether it still has a place for every part of the picture."""
    sized: list[bool] = []
    for section, step in zip(config.sections, steps, strict=True):
        squeezed = section.kind in ("avgpool", "connected")
        sized.append(not squeezed and any(source < 0 or sized[source] for source in step.sources))
    return sized


def _backbone_end(config: Config, steps: Sequence[Step], sized: Sequence[bool]) -> int:
    kinds = [section.kind for section in config.sections]
    neck = next((index for index, kind in enumerate(kinds) if kind in NECK), len(kinds))
    shortcuts = [index for index in range(neck) if kinds[index] == "shortcut"]
    if shortcuts:
        return _behind_csp(kinds, steps, shortcuts[-1], neck)
    candidates = [index for index in range(neck) if sized[index]]
    if neck < len(kinds):
        read = {source for step in steps[neck:] if len(step.sources) for source in step.sources}
        smallest = min((_area(steps[index]) for index in candidates), default=0)
        raw_heads = {index - 1 for index, step in enumerate(steps) if step.head}
        forks = [
            index for index in candidates if index in read - raw_heads - {neck - 1} and _area(steps[index]) == smallest
        ]
        candidates = forks or [index for index in candidates if index not in raw_heads] or candidates
    return candidates[-1] if candidates else -1


def _behind_csp(kinds: Sequence[str], steps: Sequence[Step], shortcut: int, neck: int) -> int:
    """Find the layer behind the route that closes a CSP block around a shortcut, or the shortcut itself."""
    size = steps[shortcut].shape[1:]
    for index in range(shortcut + 1, neck - 1):
        step = steps[index]
        if step.shape[1:] != size or kinds[index] == "maxpool":
            break
        if kinds[index] == "route" and len(step.sources) > 1 and min(step.sources) < shortcut:
            return index + 1
    return shortcut


def _area(step: Step) -> int:
    return step.shape[1] * step.shape[2]
