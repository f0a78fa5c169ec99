"""Darknet's detection layers as maps: what ``[yolo]`` and ``[region]`` make of the raw head.

They only squash; turning the result into boxes is not theirs. The network gives out the raw heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from layerscope.models.heads import Head

__all__ = ["Detection"]


class Detection(nn.Module):
    """``[yolo]`` or ``[region]``: sigmoid on x, y and objectness; width and height stay as they are.

    x and y are then stretched about 0.5 by ``scale_x_y``. Classes get a sigmoid each, or in YOLOv2's
    region all of them a softmax. A head that is ``squashed`` comes squashed already and is only stretched.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, raw: Tensor) -> Tensor:
        """Take and give ``(N, anchors * (5 + classes), H, W)``."""
        head = self.head
        x = raw.reshape(raw.shape[0], len(head.anchors), 5 + head.classes, *raw.shape[2:])
        centre, size, objectness, classes = torch.split(x, [2, 2, 1, head.classes], dim=2)
        if not head.squashed:
            centre, objectness = centre.sigmoid(), objectness.sigmoid()
            classes = classes.softmax(dim=2) if head.kind == "region" else classes.sigmoid()
        if head.scale_x_y != 1:
            centre = centre * head.scale_x_y - (head.scale_x_y - 1) / 2
        return torch.cat((centre, size, objectness, classes), dim=2).flatten(1, 2)

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        head = self.head
        return f"kind={head.kind!r}, anchors={len(head.anchors)}, classes={head.classes}"
