"""Head outputs to boxes, each knowing its scale, cell, anchor and head channels."""

from layerscope.detection.boxes import Anchor, Box, Channels, boxes_from_heads, detect
from layerscope.detection.draw import draw_boxes
from layerscope.detection.folder import Detections, detect_all

__all__ = ["Anchor", "Box", "Channels", "Detections", "boxes_from_heads", "detect", "detect_all", "draw_boxes"]
