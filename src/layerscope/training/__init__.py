"""Maps while a network trains: logged without touching the training, and shown as they form."""

from layerscope.training.logger import MapLogger
from layerscope.training.timeline import Timeline, open_timeline

__all__ = ["MapLogger", "Timeline", "open_timeline"]
