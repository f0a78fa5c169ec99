"""Head outputs to boxes, each knowing its scale, cell, anchor and head channels."""

from layerscope.detection.boxes import Anchor, Box, Channels, boxes_from_heads, detect
from layerscope.detection.draw import draw_boxes

__all__ = ["Anchor", "Box", "Channels", "boxes_from_heads", "detect", "draw_boxes"]
