"""Feature maps to pixels: scale, colour, reduce, sheet, overlay.

Pure functions of arrays; they know no networks. Tensors are scaled and reduced on their own
device, and what leaves it is bytes.
"""

from layerscope.render.colour import apply_colormap, colormap_table, default_colormap
from layerscope.render.layout import SheetLayout, cut_tiles, sheet_layout
from layerscope.render.overlay import INTERPOLATIONS, draw_overlay
from layerscope.render.reduce import REDUCTIONS, reduce_channels
from layerscope.render.scale import SCALES, Scaled, to_bytes, to_unit
from layerscope.render.sheet import draw_sheet
from layerscope.render.statistics import (
    ChannelExtent,
    ChannelStatistics,
    channel_extent,
    channel_marks,
    channel_statistics,
)

__all__ = [
    "INTERPOLATIONS",
    "REDUCTIONS",
    "SCALES",
    "ChannelExtent",
    "ChannelStatistics",
    "Scaled",
    "SheetLayout",
    "apply_colormap",
    "channel_extent",
    "channel_marks",
    "channel_statistics",
    "colormap_table",
    "cut_tiles",
    "default_colormap",
    "draw_overlay",
    "draw_sheet",
    "reduce_channels",
    "sheet_layout",
    "to_bytes",
    "to_unit",
]
