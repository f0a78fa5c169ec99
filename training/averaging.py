"""A running average of weights, which is better than any single step's and is what gets saved."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from layerscope.models.yolov3 import YOLOv3

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Follows a network's parameters and batch norm statistics.

    Args:
        network: Copied now, followed by ``update``.
        decay: Share of the old average that a step keeps, once enough steps are done.
    """

    def __init__(self, network: YOLOv3, decay: float) -> None:
        self.module = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: YOLOv3) -> None:
        """Move the average a little towards the network as it is now; by more in the first steps."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = list(self.module.state_dict().values()), list(network.state_dict().values())
        floats = [index for index, tensor in enumerate(mine) if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[i] for i in floats], [theirs[i] for i in floats], 1 - keep)
        for average, current in zip(mine, theirs, strict=True):
            if not average.is_floating_point():
                average.copy_(current)
