"""The demonstration detector: YOLOv3 as the package has it, only narrow, and its weights as one small file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from shapes import CLASSES

from layerscope.models.yolov3 import YOLOv3

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["DEMO", "Architecture", "load_demo", "save_demo"]

Anchors = dict[int, tuple[tuple[float, float], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What ``YOLOv3`` needs to be told to build this detector.

    Attributes:
        classes: Names, in the order of the outputs.
        widths: Channels of the stem and the five blocks.
        blocks: Residual units in each block.
        anchors: Per stride the anchors' widths and heights, input pixels.
    """

    classes: tuple[str, ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    anchors: Anchors

    def build(self) -> YOLOv3:
        """Make the network, with PyTorch's own first weights."""
        return YOLOv3(len(self.classes), widths=self.widths, blocks=self.blocks, anchors=self.anchors)

    def as_metadata(self) -> dict[str, str]:
        """Write it as strings, for the head of a safetensors file."""
        return {
            "classes": ",".join(self.classes),
            "widths": ",".join(map(str, self.widths)),
            "blocks": ",".join(map(str, self.blocks)),
            "anchors": json.dumps({str(stride): sizes for stride, sizes in self.anchors.items()}),
            "activation": "leaky",
            "format": "pt",
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Architecture:
        """Read it back from those strings."""
        anchors = json.loads(metadata["anchors"])
        return cls(
            classes=tuple(metadata["classes"].split(",")),
            widths=tuple(int(width) for width in metadata["widths"].split(",")),
            blocks=tuple(int(count) for count in metadata["blocks"].split(",")),
            anchors={int(stride): tuple((w, h) for w, h in sizes) for stride, sizes in anchors.items()},
        )


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
    return path.stat().st_size


def load_demo(path: Path) -> tuple[YOLOv3, Architecture]:
    """Rebuild the network from its file, in evaluation mode and single precision."""
    with safe_open(path, framework="pt") as stored:
        architecture = Architecture.from_metadata(stored.metadata())
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a mapping)
    network = architecture.build()
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    return network.eval(), architecture
