"""The detector that ships inside: YOLOv3, narrow, trained on drawn scenes; its file says how it is built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from layerscope.models.yolov3 import YOLOv3

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEMO_WEIGHTS", "Architecture", "read_architecture"]

DEMO_WEIGHTS = Path(__file__).resolve().parents[1] / "assets" / "demo.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What ``YOLOv3`` needs to be told to build a detector of this kind.

    Attributes:
        classes: Names, in the order of the outputs.
        widths: Channels of the stem and the five blocks.
        blocks: Residual units in each block.
        anchors: Per stride the anchors' widths and heights, input pixels.
    """

    classes: tuple[str, ...]
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    anchors: Mapping[int, tuple[tuple[float, float], ...]]

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
        """Read it back from those strings.

        Raises:
            KeyError: Something is not said.
            ValueError: Something cannot be read.
        """
        anchors = json.loads(metadata["anchors"])
        return cls(
            classes=tuple(metadata["classes"].split(",")),
            widths=tuple(int(width) for width in metadata["widths"].split(",")),
            blocks=tuple(int(count) for count in metadata["blocks"].split(",")),
            anchors={int(stride): tuple((w, h) for w, h in sizes) for stride, sizes in anchors.items()},
        )


def read_architecture(path: Path) -> Architecture | None:
    """Read how a detector is built from its weights file; None where the file does not say."""
    try:
        with safe_open(path, framework="numpy") as stored:
            return Architecture.from_metadata(stored.metadata() or {})
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
