"""How a detector's raw head outputs are to be read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One scale of a YOLO detector.

    The raw head is ``(N, anchors * (5 + classes), H, W)``, anchor-major: for anchor ``a`` the channels
    from ``a * (5 + classes)`` are x, y, width, height, objectness and one per class, all before any
    sigmoid (Redmon and Farhadi, "YOLOv3: An Incremental Improvement", 2018).

    Attributes:
        layer: The layer whose output is the raw head.
        stride: Input pixels per cell.
        anchors: Width and height of each anchor, input pixels.
        classes: Number of classes.
        kind: ``yolo`` reads each class by a sigmoid, ``region`` (YOLOv2) all classes by a softmax.
        scale_x_y: Darknet's stretch of the centre's sigmoid about 0.5; 1 leaves it as it is.
        squashed: Whether the network itself has already taken sigmoids (Darknet's ``new_coords``).
        sizes: Width and height as ``exp`` of the number, or as the ``square`` of twice its sigmoid, times the
            anchor (Scaled-YOLOv4, YOLOv5).
    """

    layer: str
    stride: int
    anchors: tuple[tuple[float, float], ...]
    classes: int
    kind: Literal["yolo", "region"] = "yolo"
    scale_x_y: float = 1.0
    squashed: bool = False
    sizes: Literal["exp", "square"] = "exp"

    @property
    def channels(self) -> int:
        """Number of channels of the raw head."""
        return len(self.anchors) * (5 + self.classes)
