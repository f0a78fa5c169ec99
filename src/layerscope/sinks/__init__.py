"""Feature maps to files, and finished runs read back."""

from layerscope.sinks.pictures import Pictures
from layerscope.sinks.run_folder import Run, RunFrame, RunLayer, open_run
from layerscope.sinks.sink import Sink, Target, Write
from layerscope.sinks.tiles import TILE_FORMATS, Tiles, encode_recipe_jpeg

__all__ = [
    "TILE_FORMATS",
    "Pictures",
    "Run",
    "RunFrame",
    "RunLayer",
    "Sink",
    "Target",
    "Tiles",
    "Write",
    "encode_recipe_jpeg",
    "open_run",
]
