"""A selection of layers to hooks to feature maps."""

from layerscope.capture.capture import capture
from layerscope.capture.feature_map import Channel, FeatureMap
from layerscope.capture.select import Plan, Selection, select
from layerscope.capture.tape import Tape, tap

__all__ = ["Channel", "FeatureMap", "Plan", "Selection", "Tape", "capture", "select", "tap"]
