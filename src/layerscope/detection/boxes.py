"""A picture to boxes, and each box back to the cell and channels that made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerscope.detection.decode import decode_head
from layerscope.detection.suppress import suppress
from layerscope.errors import OptionError, SourceError
from layerscope.inputs import open_frame

if TYPE_CHECKING:
    from typing import Unpack

    from torch import Tensor

    from layerscope.inputs import InputSource, Placement, PreparationOptions
    from layerscope.models.network import Network

__all__ = ["MOST_CANDIDATES", "Anchor", "Box", "Channels", "boxes_from_heads", "detect"]

MOST_CANDIDATES = 30_000
"""So many of the best candidates go into suppression: an untrained head gives one for every cell and class."""

LARGEST_PX = 1e100
"""A box that reaches farther lies nowhere; areas of others can still be multiplied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The prior that a box was made from.

    Attributes:
        index: Which of its scale's anchors.
        width: In pixels of the network's input.
        height: Likewise.
    """

    index: int
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The channels of the raw head that a box came from.

    Attributes:
        layer: The head's layer.
        box: The channels of x, y, width and height.
        objectness: The channel of objectness.
        label: The channel of its class.
    """

    layer: str
    box: tuple[int, int, int, int]
    objectness: int
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One thing found.

    Attributes:
        label: Its class by name.
        class_id: Its class by number.
        score: Objectness times class probability.
        xyxy: Left, top, right, bottom in pixels of the picture, not clipped to it.
        scale: Stride in input pixels of the head that found it: 32 for the coarse one, 16, 8.
        cell: Row and column in that head.
        anchor: The prior that it was made from.
        channels: The head's channels that it was read from.
    """

    label: str
    class_id: int
    score: float
    xyxy: tuple[float, float, float, float]
    scale: int
    cell: tuple[int, int]
    anchor: Anchor
    channels: Channels

    def __str__(self) -> str:
        left, top, right, bottom = self.xyxy
        return (
            f"{self.label} {self.score:.2f} at ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f}), "
            f"from stride {self.scale}, cell {self.cell}, anchor {self.anchor.index}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain numbers and words, ready for JSON."""
        return {
            "label": self.label,
            "class_id": self.class_id,
            "score": round(self.score, 5),
            "xyxy": [round(value, 2) for value in self.xyxy],
            "scale": self.scale,
            "cell": list(self.cell),
            "anchor": {
                "index": self.anchor.index,
                "width": self.anchor.width,
                "height": self.anchor.height,
            },
            "channels": {
                "layer": self.channels.layer,
                "box": list(self.channels.box),
                "objectness": self.channels.objectness,
                "label": self.channels.label,
            },
        }


def detect(
    net: Network,
    picture: InputSource,
    *,
    score: float = 0.25,
    iou: float = 0.45,
    **preparation: Unpack[PreparationOptions],
) -> list[Box]:
    """Find things in a picture.

    Args:
        net: A network that detects.
        picture: A path, an (H, W, 3) uint8 RGB array, a PIL image or a Frame.
        score: Boxes below or at it are left out, 0 to 1.
        iou: A box that overlaps a better one of its class by more is dropped, 0 to 1.
        **preparation: Replace parts of how the network prepares a picture.

    Returns:
        The boxes, best first.

    Raises:
        SourceError: The network does not detect.
        InputError: The picture cannot be read.
    """
    check_detector(net, score, iou)
    x, placement = net.prepare(open_frame(picture), **preparation)
    return boxes_from_heads(net, [raw[0] for raw in net.outputs(x)], placement, score=score, iou=iou)


def check_detector(net: Network, score: float, iou: float) -> None:
    """Refuse a network that does not detect, and thresholds that are none.

    Raises:
        SourceError: The network has no heads.
        OptionError: A threshold is outside 0 to 1.
    """
    if not net.heads:
        raise SourceError(f"{net.source} does not detect: it has no yolo or region head")
    for name, value in (("score", score), ("iou", iou)):
        if not 0 <= value <= 1:
            raise OptionError(f"{name}: expected a number from 0 to 1, got {value}")


def boxes_from_heads(
    net: Network, raws: list[Tensor], placement: Placement, *, score: float = 0.25, iou: float = 0.45
) -> list[Box]:
    """Read one picture's raw heads as boxes.

    Args:
        net: The network that gave them.
        raws: Per head (anchors * (5 + classes), H, W), in the order of ``net.heads``.
        placement: Where the picture lies in the network's input.
        score: Boxes below or at it are left out.
        iou: A box that overlaps a better one of its class by more is dropped.
    """
    heads = [
        decode_head(raw.float().cpu().numpy(), head, placement.input_hw, score)
        for raw, head in zip(raws, net.heads, strict=True)
    ]
    origin = np.concatenate([np.full(len(found.score), index) for index, found in enumerate(heads)])
    within = np.concatenate([np.arange(len(found.score)) for found in heads])
    scores = np.concatenate([found.score for found in heads])
    class_id = np.concatenate([found.class_id for found in heads])
    xyxy = np.concatenate([found.xyxy for found in heads])
    somewhere = np.flatnonzero((np.abs(xyxy) < LARGEST_PX).all(axis=1))  # not where a coordinate is no number
    best = somewhere[np.argsort(-scores[somewhere], kind="stable")[:MOST_CANDIDATES]]
    on_picture = placement.to_frame(xyxy[best].reshape(-1, 2, 2)).reshape(-1, 4)
    kept = suppress(on_picture, scores[best], class_id[best], iou)
    boxes = []
    for rank in kept:
        index = best[rank]
        head, found, place = net.heads[origin[index]], heads[origin[index]], within[index]
        label, anchor = int(found.class_id[place]), int(found.anchor[place])
        first = anchor * (5 + head.classes)
        left, top, right, bottom = (float(value) for value in on_picture[rank])
        width, height = head.anchors[anchor]
        boxes.append(
            Box(
                label=net.names[label],
                class_id=label,
                score=float(found.score[place]),
                xyxy=(left, top, right, bottom),
                scale=head.stride,
                cell=(int(found.cell[place, 0]), int(found.cell[place, 1])),
                anchor=Anchor(index=anchor, width=width, height=height),
                channels=Channels(
                    layer=head.layer,
                    box=(first, first + 1, first + 2, first + 3),
                    objectness=first + 4,
                    label=first + 5 + label,
                ),
            )
        )
    return boxes
