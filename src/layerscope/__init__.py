"""Layerscope shows what a vision network sees.

>>> import layerscope as ls
>>> net = ls.load("yolov3", weights="yolov3.weights")  # doctest: +SKIP
>>> maps = ls.capture(net, "dog.jpg")  # doctest: +SKIP
>>> maps["backbone.block3"].sheet(scale="symmetric").save("block3.png")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from layerscope.detection import Box, detect, detect_all, draw_boxes
    from layerscope.errors import LayerscopeError, LayerscopeWarning
    from layerscope.hooks import FeatureMap, Tape, capture, tap
    from layerscope.inputs import Frame, Placement, Preparation
    from layerscope.models import Network, load
    from layerscope.pipeline import run
    from layerscope.recipe import to_image, to_images
    from layerscope.sinks import Run, open_run
    from layerscope.validation import check

_HOME = {
    "Box": "detection",
    "FeatureMap": "hooks",
    "Frame": "inputs",
    "LayerscopeError": "errors",
    "LayerscopeWarning": "errors",
    "Network": "models",
    "Placement": "inputs",
    "Preparation": "inputs",
    "Run": "sinks",
    "Tape": "hooks",
    "capture": "hooks",
    "check": "validation",
    "detect": "detection",
    "detect_all": "detection",
    "draw_boxes": "detection",
    "load": "models",
    "open_run": "sinks",
    "run": "pipeline",
    "tap": "hooks",
    "to_image": "recipe",
    "to_images": "recipe",
}
"""Where each public name lives; it is imported when it is first asked for."""

__all__ = [
    "Box",
    "FeatureMap",
    "Frame",
    "LayerscopeError",
    "LayerscopeWarning",
    "Network",
    "Placement",
    "Preparation",
    "Run",
    "Tape",
    "capture",
    "check",
    "detect",
    "detect_all",
    "draw_boxes",
    "load",
    "open_run",
    "run",
    "tap",
    "to_image",
    "to_images",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'layerscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"layerscope.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
