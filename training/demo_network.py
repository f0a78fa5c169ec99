"""The demonstration detector: YOLOv3 as the package has it, only narrow, and its weights as one small file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from layerscope.models.demo import Architecture, read_architecture
from shapes import CLASSES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from layerscope.models.yolov3 import YOLOv3

__all__ = ["DEMO", "Architecture", "load_demo", "save_demo"]

DEMO = Architecture(
    classes=CLASSES,
    widths=(8, 16, 32, 64, 96, 128),
    blocks=(1, 1, 2, 2, 1),
    anchors={
        32: ((96.0, 96.0), (122.0, 122.0), (157.0, 157.0)),
        16: ((46.0, 46.0), (59.0, 59.0), (75.0, 75.0)),
        8: ((21.0, 21.0), (28.0, 28.0), (36.0, 36.0)),
    },
)
"""The anchors are those that ``anchors.py`` prints."""


def save_demo(path: Path, state: Mapping[str, Tensor], architecture: Architecture) -> int:
    """Save weights in half precision, together with what is needed to rebuild the network.

    Returns:
        The file's size in bytes.
    """
    tensors = {
        name: tensor.detach().to(torch.float16 if tensor.is_floating_point() else tensor.dtype).contiguous().clone()
        for name, tensor in state.items()
    }
    save_file(tensors, path, metadata=architecture.as_metadata())
    path.chmod(0o644)
    return path.stat().st_size


def load_demo(path: Path) -> tuple[YOLOv3, Architecture]:
    """Rebuild the network from its file, in evaluation mode and single precision."""
    architecture = read_architecture(path)
    if architecture is None:
        raise ValueError(f"{path}: does not say how its network is built")
    state = load_file(path)
    network = architecture.build()
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    return network.eval(), architecture
