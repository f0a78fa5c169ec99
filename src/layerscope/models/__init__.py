"""A source string to a network."""

from layerscope.models.network import Network
from layerscope.models.sources import SOURCES, load

__all__ = ["SOURCES", "Network", "load"]
