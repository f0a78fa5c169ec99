"""Darknet's two formats: any ``.cfg`` as a PyTorch network, and the ``.weights`` that fill it.

Reading order is data order: ``cfg`` takes a text apart into ``section``s; ``sections`` and ``references``
turn each into a ``step``, ``shapes`` all of them into a checked plan; ``layers``, ``joins`` and ``decode``
are the modules, ``network`` puts them together and ``stages`` marks some. ``weights`` stands beside them.
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
