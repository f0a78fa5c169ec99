"""Raw heads to candidate boxes, each remembering where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from layerscope.models.heads import Head

__all__ = ["Candidates", "decode_head"]

LARGEST = 1e300
"""What stands for infinity where differences are taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The boxes of one head whose score passes, row by row.

    Attributes:
        xyxy: (K, 4) float64 left, top, right, bottom, pixels of the network's input.
        score: (K,) float64 objectness times class probability.
        class_id: (K,) class.
        anchor: (K,) which of the head's anchors.
        cell: (K, 2) row and column.
    """

    xyxy: NDArray[np.float64]
    score: NDArray[np.float64]
    class_id: NDArray[np.int64]
    anchor: NDArray[np.int64]
    cell: NDArray[np.int64]


def decode_head(raw: NDArray[np.floating], head: Head, input_hw: tuple[int, int], score: float) -> Candidates:
    """Read one raw head.

    The formulas are those of YOLOv3 (Redmon and Farhadi, 2018, section 2.1) with Darknet's ``scale_x_y`` and
    the square sizes of Scaled-YOLOv4 and YOLOv5; for ``region`` those of YOLO9000 (Redmon and Farhadi, 2017,
    section 2).

    Args:
        raw: (anchors * (5 + classes), H, W) one picture's head before any sigmoid.
        head: How to read it.
        input_hw: Height and width of the network's input, pixels.
        score: Boxes below or at it are left out.

    Returns:
        One candidate for each cell, anchor and class above the score.
    """
    _, height, width = raw.shape
    parts = np.asarray(raw, np.float64).reshape(len(head.anchors), 5 + head.classes, height, width)
    squash = _squash(head)
    objectness = squash(parts[:, 4])
    likely = np.argwhere(objectness > score)  # (M, 3) anchor, row, column: no class can lift it above
    anchor, row, column = likely.T
    found = parts[anchor, :, row, column]  # (M, 5 + classes)
    classes = _softmax(found[:, 5:]) if head.kind == "region" else squash(found[:, 5:])
    scores = objectness[anchor, row, column][:, None] * classes
    box, class_id = np.nonzero(scores > score)
    xyxy = _boxes(found[:, :4], likely, head, (height, width), input_hw)
    return Candidates(
        xyxy=xyxy[box],
        score=scores[box, class_id],
        class_id=class_id,
        anchor=anchor[box],
        cell=likely[box, 1:],
    )


def _boxes(
    t: NDArray[np.float64],
    likely: NDArray[np.int64],
    head: Head,
    cells_hw: tuple[int, int],
    input_hw: tuple[int, int],
) -> NDArray[np.float64]:
    """Turn (M, 4) raw x, y, w, h into (M, 4) corners in input pixels."""
    cell_xy = np.array([input_hw[1] / cells_hw[1], input_hw[0] / cells_hw[0]])
    anchors = np.asarray(head.anchors, np.float64)[likely[:, 0]]
    squash = _squash(head)
    offset = squash(t[:, :2]) * head.scale_x_y - (head.scale_x_y - 1) / 2
    centre = (offset + likely[:, [2, 1]]) * cell_xy
    with np.errstate(over="ignore"):  # an untrained head may say e^1000; such a box is infinitely large
        size = (np.exp(t[:, 2:]) if head.sizes == "exp" else (2 * squash(t[:, 2:])) ** 2) * anchors
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1)


def _squash(head: Head) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return (lambda x: x) if head.squashed else _sigmoid


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    if not x.size:
        return x
    x = np.clip(x, -LARGEST, LARGEST)  # infinity less infinity would be no number
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
