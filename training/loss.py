"""What the detector is told: which predictions are responsible for an object, and how wrong they are.

Objectness, class and the centre's sigmoid follow Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018.
Boxes are compared by complete IoU (Zheng et al., "Distance-IoU Loss", 2020), and an object may have several
predictions, one for each anchor whose size is near to its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from batches import Batch
    from layerscope.models.heads import Head

__all__ = ["Losses", "detection_loss"]

NEAR_ANCHOR = 1.8
"""An anchor is responsible for boxes up to this many times wider or narrower, higher or lower than itself."""

IGNORE_IOU = 0.6
"""A prediction that nobody asked for but that fits an object this well is not told to be quiet."""

BOX_WEIGHT, OBJECT_WEIGHT, CLASS_WEIGHT = 3.0, 1.0, 1.0
LARGEST_LOG_SIZE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The three parts, each a number per responsible prediction.

    Attributes:
        box: 1 minus complete IoU.
        objectness: Binary cross-entropy over all predictions.
        label: Binary cross-entropy over the classes.
    """

    box: Tensor
    objectness: Tensor
    label: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return BOX_WEIGHT * self.box + OBJECT_WEIGHT * self.objectness + CLASS_WEIGHT * self.label


@dataclass(frozen=True, slots=True)
class Responsible:
    """Predictions of one head that are to find something: for each its place and the box it is for.

    Attributes:
        place: Scene, anchor, row and column, each (R,).
        box: (R,) which box of the batch.
    """

    place: tuple[Tensor, Tensor, Tensor, Tensor]
    box: Tensor


def detection_loss(raws: tuple[Tensor, ...], heads: tuple[Head, ...], batch: Batch) -> Losses:
    """Compare raw heads with what is on the pictures.

    Args:
        raws: Per head (N, anchors * (5 + classes), H, W).
        heads: How to read them.
        batch: The scenes.
    """
    boxes_per_scene = _padded(batch)
    found, wanted, quality = [], [], []  # of responsible predictions: raw classes, their classes, complete IoU
    objectness = raws[0].new_zeros(())
    chosen = _assign(heads, batch, [(raw.shape[2], raw.shape[3]) for raw in raws])
    for raw, head, responsible in zip(raws, heads, chosen, strict=True):
        count, _, height, width = raw.shape
        parts = raw.reshape(count, len(head.anchors), 5 + head.classes, height, width).permute(0, 1, 3, 4, 2)
        boxes = _decoded(parts[..., :4], head)
        with torch.no_grad():
            best = _best_iou(boxes.detach().reshape(count, -1, 4), boxes_per_scene).reshape(parts.shape[:-1])
            weight = (best < IGNORE_IOU).float()
            target = torch.zeros_like(weight)
        if len(responsible.box):
            mine = boxes[responsible.place]
            fit = complete_iou(mine, batch.boxes[responsible.box])
            quality.append(fit)
            found.append(parts[responsible.place][:, 5:])
            wanted.append(batch.labels[responsible.box])
            weight[responsible.place] = 1.0
            target[responsible.place] = fit.detach().clamp(0, 1)
        objectness = objectness + F.binary_cross_entropy_with_logits(parts[..., 4], target, weight, reduction="sum")
    if not quality:
        return Losses(box=objectness * 0, objectness=objectness, label=objectness * 0)
    responsible_count = sum(len(part) for part in wanted)
    truth = F.one_hot(torch.cat(wanted), heads[0].classes).float()
    label = F.binary_cross_entropy_with_logits(torch.cat(found), truth, reduction="sum") / responsible_count
    return Losses(box=(1 - torch.cat(quality)).mean(), objectness=objectness / responsible_count, label=label)


def _assign(heads: tuple[Head, ...], batch: Batch, cells_hw: list[tuple[int, int]]) -> list[Responsible]:
    """Give every box to the anchors of about its size, at least to the nearest, in the cell of its centre."""
    size = batch.boxes[:, 2:] - batch.boxes[:, :2]
    centre = (batch.boxes[:, 2:] + batch.boxes[:, :2]) / 2
    anchors = torch.tensor([anchor for head in heads for anchor in head.anchors])
    ratio = size[:, None] / anchors
    misfit = torch.maximum(ratio, 1 / ratio).amax(dim=2)  # (M, all anchors)
    near = misfit < NEAR_ANCHOR
    near[torch.arange(len(size)), misfit.argmin(dim=1)] = True
    chosen, first = [], 0
    for head, (height, width) in zip(heads, cells_hw, strict=True):
        box, anchor = near[:, first : first + len(head.anchors)].nonzero(as_tuple=True)
        first += len(head.anchors)
        column = (centre[box, 0] / head.stride).long().clamp(0, width - 1)
        row = (centre[box, 1] / head.stride).long().clamp(0, height - 1)
        chosen.append(Responsible((batch.owners[box], anchor, row, column), box))
    return chosen


def _decoded(raw: Tensor, head: Head) -> Tensor:
    """Turn (N, anchors, H, W, 4) raw x, y, w, h into corners in pixels, by YOLOv3's formulas."""
    _, _, height, width, _ = raw.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = (raw[..., :2].sigmoid() + torch.stack([columns, rows], dim=-1)) * head.stride
    size = raw[..., 2:].clamp(max=LARGEST_LOG_SIZE).exp() * torch.tensor(head.anchors)[:, None, None]
    return torch.cat([centre - size / 2, centre + size / 2], dim=-1)


def _padded(batch: Batch) -> Tensor:
    """Lay the boxes out as (N, most boxes in a scene, 4), the gaps filled with boxes without area."""
    counts = torch.bincount(batch.owners, minlength=len(batch.pictures))
    rank = torch.arange(len(batch.owners)) - (counts.cumsum(0) - counts)[batch.owners]
    padded = torch.zeros(len(counts), max(1, int(counts.max())), 4)
    padded[batch.owners, rank] = batch.boxes
    return padded


def _best_iou(predicted: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of each of (N, P, 4) predictions with the best of its scene's (N, B, 4) boxes: (N, P)."""
    best = torch.zeros(predicted.shape[:2])
    area = (predicted[..., 2:] - predicted[..., :2]).prod(dim=-1)
    for box in boxes.unbind(dim=1):  # one after the other needs no (N, P, B) table
        shared = torch.minimum(predicted[..., 2:], box[:, None, 2:]) - torch.maximum(
            predicted[..., :2], box[:, None, :2]
        )
        shared_area = shared.clamp(min=0).prod(dim=-1)
        own_area = (box[:, 2:] - box[:, :2]).prod(dim=-1)[:, None]
        best = torch.maximum(best, shared_area / (area + own_area - shared_area + 1e-9))
    return best


def complete_iou(one: Tensor, other: Tensor) -> Tensor:
    """Compare (R, 4) boxes pair by pair: IoU, less for distant centres, less for another aspect ratio; 1 at best."""
    shared = (torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])).clamp(min=0)
    size, other_size = one[:, 2:] - one[:, :2], other[:, 2:] - other[:, :2]
    shared_area = shared.prod(dim=1)
    iou = shared_area / (size.prod(dim=1) + other_size.prod(dim=1) - shared_area + 1e-9)
    hull = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    between = (one[:, :2] + one[:, 2:] - other[:, :2] - other[:, 2:]) / 2
    distance = between.square().sum(dim=1) / (hull.square().sum(dim=1) + 1e-9)
    slant = torch.atan(size[:, 0] / (size[:, 1] + 1e-9)) - torch.atan(other_size[:, 0] / (other_size[:, 1] + 1e-9))
    aspect = 4 / math.pi**2 * slant.square()
    with torch.no_grad():
        share = aspect / (1 - iou + aspect + 1e-9)
    return iou - distance - share * aspect
