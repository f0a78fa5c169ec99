"""Darknet's two formats: any ``.cfg`` as a PyTorch network, and the ``.weights`` that fill it.

Reading order is data order: ``cfg`` (text -> sections), ``shapes`` with ``sections`` and ``references``
(sections -> a checked plan), ``layers``, ``joins`` and ``decode`` (the modules), ``stages``, ``network``;
``weights`` stands beside them.
"""

from layerscope.models.darknet.cfg import Config, parse_config, read_config
from layerscope.models.darknet.network import DarknetNetwork
from layerscope.models.darknet.section import Section
from layerscope.models.darknet.weights import (
    DarknetWeights,
    Header,
    count_numbers,
    looks_like_weights,
    read_weights,
    slot_numbers,
    write_weights,
)

__all__ = [
    "Config",
    "DarknetNetwork",
    "DarknetWeights",
    "Header",
    "Section",
    "count_numbers",
    "looks_like_weights",
    "parse_config",
    "read_config",
    "read_weights",
    "slot_numbers",
    "write_weights",
]
