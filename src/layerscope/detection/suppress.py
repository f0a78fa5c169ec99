"""Of boxes that lie on each other, the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["iou", "suppress"]


def iou(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of one box with many.

    Args:
        box: (4,) left, top, right, bottom.
        others: (K, 4).

    Returns:
        (K,) from 0 to 1; 0 for boxes without area.

    >>> iou(np.array([0.0, 0, 2, 2]), np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])).round(2).tolist()
    [1.0, 0.33, 0.0]
    """
    corner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(corner, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def suppress(
    xyxy: NDArray[np.float64], score: NDArray[np.float64], class_id: NDArray[np.int64], threshold: float
) -> NDArray[np.int64]:
    """Greedy non-maximum suppression, class by class.

    Args:
        xyxy: (K, 4) boxes, finite.
        score: (K,) the higher the better.
        class_id: (K,) boxes of different classes leave each other alone.
        threshold: A box whose IoU with a better one of its class is above this is dropped.

    Returns:
        Indices of the boxes kept, best first; equal scores in their given order.
    """
    order = np.argsort(-score, kind="stable")
    stays = np.zeros(len(order), bool)
    for class_ in np.unique(class_id):
        waiting = np.flatnonzero(class_id[order] == class_)  # places in the order
        while waiting.size:
            best, waiting = waiting[0], waiting[1:]
            stays[best] = True
            waiting = waiting[iou(xyxy[order[best]], xyxy[order[waiting]]) <= threshold]
    return np.asarray(order[stays], np.int64)
