"""A selection of layers to hooks to feature maps."""

from layerscope.hooks.capture import capture
from layerscope.hooks.feature_map import Channel, FeatureMap
from layerscope.hooks.select import Plan, Selection, select
from layerscope.hooks.tape import Tape, tap

__all__ = ["Channel", "FeatureMap", "Plan", "Selection", "Tape", "capture", "select", "tap"]
