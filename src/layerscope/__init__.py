"""Layerscope shows what a vision network sees."""

__version__ = "0.1.0"
