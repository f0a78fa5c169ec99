"""Inputs: files, folders, patterns and arrays to frames; frames to a network's input."""

from layerscope.inputs.find import Input, InputSource, find_inputs
from layerscope.inputs.frame import Frame, Placement
from layerscope.inputs.moving import Span
from layerscope.inputs.options import PreparationOptions
from layerscope.inputs.pictures import MAX_PIXELS, PICTURE_SUFFIXES, read_picture
from layerscope.inputs.prepare import Preparation, parse_size, place, prepare, with_options
from layerscope.inputs.resize import FILTERS, resize
from layerscope.inputs.single import open_frame

__all__ = [
    "FILTERS",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Frame",
    "Input",
    "InputSource",
    "Placement",
    "Preparation",
    "PreparationOptions",
    "Span",
    "find_inputs",
    "open_frame",
    "parse_size",
    "place",
    "prepare",
    "read_picture",
    "resize",
    "with_options",
]
