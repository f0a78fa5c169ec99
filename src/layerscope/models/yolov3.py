"""Darknet53 and YOLOv3, written to be read from top to bottom by someone learning them.

Read in this order: a convolutional layer, a residual block, the five-block backbone, the neck that brings
coarse and fine together, the heads that predict boxes, and at the end the two whole networks.

Sources: J. Redmon and A. Farhadi, "YOLOv3: An Incremental Improvement", 2018; the files ``yolov3.cfg`` and
``darknet53.cfg`` of Darknet, whose section numbers stand in the comments and are what ``.weights`` files
are ordered by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from layerscope.models.heads import Head
from layerscope.models.layout import WeightSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ANCHORS", "BLOCKS", "WIDTHS", "Darknet53", "Darknet53Classifier", "YOLOv3", "yolov3_slots"]

WIDTHS = (32, 64, 128, 256, 512, 1024)
"""Channels of the stem and of the five blocks."""

BLOCKS = (1, 2, 8, 8, 4)
"""Residual units in each of the five blocks: 23 in all."""

ANCHORS = {
    32: ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
    16: ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    8: ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
}
"""Width and height of the three anchors of each stride, in input pixels."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"leaky": lambda: nn.LeakyReLU(0.1), "silu": nn.SiLU}


class Convolution(nn.Module):
    """What Darknet calls a convolutional layer: convolution, batch norm, activation.

    ``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int = 1, activation: str = "leaky") -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))


class Residual(nn.Module):
    """Squeeze to half the channels, look around, and add what was seen to what came in."""

    def __init__(self, channels: int, *, activation: str = "leaky") -> None:
        super().__init__()
        self.conv1 = Convolution(channels, channels // 2, 1, activation=activation)
        self.conv2 = Convolution(channels // 2, channels, 3, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class Block(nn.Sequential):
    """Halve the picture, double the channels, then refine by residual units.

    Its children are ``down``, ``residual0``, ``residual1``, ...
    """

    def __init__(self, inputs: int, outputs: int, residuals: int, *, activation: str = "leaky") -> None:
        super().__init__()
        self.add_module("down", Convolution(inputs, outputs, 3, stride=2, activation=activation))
        for index in range(residuals):
            self.add_module(f"residual{index}", Residual(outputs, activation=activation))


class Darknet53(nn.Module):
    """The backbone: a stem and five blocks, each at half the resolution of the one before.

    ``(N, 3, H, W)`` to the outputs of block 3, 4 and 5, at strides 8, 16 and 32.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = WIDTHS,
        blocks: tuple[int, ...] = BLOCKS,
        *,
        activation: str = "leaky",
    ) -> None:
        super().__init__()
        stem, w1, w2, w3, w4, w5 = widths
        n1, n2, n3, n4, n5 = blocks
        self.stem = Convolution(3, stem, 3, activation=activation)  # section 0
        self.block1 = Block(stem, w1, n1, activation=activation)  # sections 1 to 4
        self.block2 = Block(w1, w2, n2, activation=activation)  # sections 5 to 11
        self.block3 = Block(w2, w3, n3, activation=activation)  # sections 12 to 36
        self.block4 = Block(w3, w4, n4, activation=activation)  # sections 37 to 61
        self.block5 = Block(w4, w5, n5, activation=activation)  # sections 62 to 74

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.block2(self.block1(self.stem(x)))
        fine = self.block3(x)
        middle = self.block4(fine)
        coarse = self.block5(middle)
        return fine, middle, coarse


class FiveConvolutions(nn.Sequential):
    """Alternate 1x1 squeezes to ``channels`` and 3x3 looks at twice as many; children ``conv1`` to ``conv5``."""

    def __init__(self, inputs: int, channels: int, *, activation: str = "leaky") -> None:
        super().__init__()
        wide = 2 * channels
        plan = ((inputs, channels, 1), (channels, wide, 3), (wide, channels, 1))
        for index, (cin, cout, size) in enumerate((*plan, *plan[1:]), start=1):
            self.add_module(f"conv{index}", Convolution(cin, cout, size, activation=activation))


class Neck(nn.Module):
    """Carry what the coarse scale knows up to the finer ones.

    At each step the coarser map is squeezed (``lateral``), enlarged twofold and put beside the backbone's
    map of that size.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, activation: str = "leaky") -> None:
        super().__init__()
        w3, w4, w5 = widths[-3:]
        self.stride32 = FiveConvolutions(w5, w5 // 2, activation=activation)  # sections 75 to 79
        self.lateral16 = Convolution(w5 // 2, w4 // 2, 1, activation=activation)  # section 84
        self.upsample16 = nn.Upsample(scale_factor=2, mode="nearest")
        self.stride16 = FiveConvolutions(w4 // 2 + w4, w4 // 2, activation=activation)  # sections 87 to 91
        self.lateral8 = Convolution(w4 // 2, w3 // 2, 1, activation=activation)  # section 96
        self.upsample8 = nn.Upsample(scale_factor=2, mode="nearest")
        self.stride8 = FiveConvolutions(w3 // 2 + w3, w3 // 2, activation=activation)  # sections 99 to 103

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse = self.stride32(coarse)
        enlarged = self.upsample16(self.lateral16(coarse))
        middle = self.stride16(torch.cat([enlarged, middle], dim=1))
        enlarged = self.upsample8(self.lateral8(middle))
        fine = self.stride8(torch.cat([enlarged, fine], dim=1))
        return fine, middle, coarse


class Prediction(nn.Module):
    """One head: a last look around, then for each of three anchors x, y, w, h, objectness and the classes."""

    def __init__(self, inputs: int, outputs: int, *, activation: str = "leaky") -> None:
        super().__init__()
        self.expand = Convolution(inputs, 2 * inputs, 3, activation=activation)
        self.predict = nn.Conv2d(2 * inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.expand(x))


class YOLOv3(nn.Module):
    """The whole detector.

    ``(N, 3, H, W)``, height and width multiples of 32, to three raw heads, coarse first:
    ``(N, 3 * (5 + classes), H / 32, W / 32)``, then ``/ 16``, then ``/ 8``.

    Args:
        classes: Number of classes.
        widths: Channels of the stem and the five blocks.
        blocks: Residual units in each block.
        activation: ``leaky`` (Darknet's) or ``silu`` (later Ultralytics checkpoints).
        anchors: Per stride the anchors' widths and heights, input pixels.
        square_sizes: How the heads are read: sizes by ``exp``, or squared as later Ultralytics checkpoints do.
    """

    STAGES = tuple(f"backbone.block{index}" for index in range(1, 6))

    def __init__(
        self,
        classes: int = 80,
        *,
        widths: tuple[int, ...] = WIDTHS,
        blocks: tuple[int, ...] = BLOCKS,
        activation: str = "leaky",
        anchors: Mapping[int, tuple[tuple[float, float], ...]] = ANCHORS,
        square_sizes: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.blocks, self.anchors = classes, blocks, anchors
        self.square_sizes = square_sizes
        outputs = 3 * (5 + classes)
        w3, w4, w5 = widths[-3:]
        self.backbone = Darknet53(widths, blocks, activation=activation)
        self.neck = Neck(widths, activation=activation)
        self.head32 = Prediction(w5 // 2, outputs, activation=activation)  # sections 80 and 81
        self.head16 = Prediction(w4 // 2, outputs, activation=activation)  # sections 92 and 93
        self.head8 = Prediction(w3 // 2, outputs, activation=activation)  # sections 104 and 105

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.neck(*self.backbone(x))
        return self.head32(coarse), self.head16(middle), self.head8(fine)

    @property
    def heads(self) -> tuple[Head, ...]:
        """How the three outputs are to be read, coarse first."""
        return tuple(
            Head(
                layer=f"head{stride}.predict",
                stride=stride,
                anchors=self.anchors[stride],
                classes=self.classes,
                sizes="square" if self.square_sizes else "exp",
                scale_x_y=2.0 if self.square_sizes else 1.0,
            )
            for stride in (32, 16, 8)
        )

    @property
    def slots(self) -> tuple[WeightSlot, ...]:
        """The 75 convolutions in the order of a ``.weights`` file."""
        return yolov3_slots(self.blocks)


class Darknet53Classifier(nn.Module):
    """The backbone as the ImageNet classifier of ``darknet53.cfg``.

    ``(N, 3, H, W)`` to ``(N, classes)`` probabilities.
    """

    STAGES = YOLOv3.STAGES

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = Darknet53()
        self.pool = nn.AdaptiveAvgPool2d(1)  # section 75
        self.classifier = nn.Conv2d(WIDTHS[-1], classes, 1)  # section 76
        self.softmax = nn.Softmax(dim=1)  # section 77

    def forward(self, x: Tensor) -> Tensor:
        _, _, coarse = self.backbone(x)
        return self.softmax(self.classifier(self.pool(coarse)).flatten(1))

    @property
    def slots(self) -> tuple[WeightSlot, ...]:
        """The 53 convolutions in the order of a ``.weights`` file."""
        return (*_backbone_slots(BLOCKS), WeightSlot.of_convolution(76, "classifier", None))


def yolov3_slots(blocks: tuple[int, ...] = BLOCKS) -> tuple[WeightSlot, ...]:
    """List the convolutions of a ``YOLOv3`` with so many residual units in its blocks, without building it."""
    slots = _backbone_slots(blocks)
    section = slots[-1].section + 2  # the last residual's shortcut lies between
    scales = (
        ("neck.stride32", "head32", "neck.lateral16"),
        ("neck.stride16", "head16", "neck.lateral8"),
        ("neck.stride8", "head8", None),
    )
    for convolutions, head, lateral in scales:
        for name in (*(f"{convolutions}.conv{index}" for index in range(1, 6)), f"{head}.expand"):
            slots.append(_slot(section, name))
            section += 1
        slots.append(WeightSlot.of_convolution(section, f"{head}.predict", None))
        if lateral is not None:
            section += 3  # yolo and route
            slots.append(_slot(section, lateral))
            section += 3  # upsample and route
    return tuple(slots)


def _slot(section: int, layer: str) -> WeightSlot:
    return WeightSlot.of_convolution(section, f"{layer}.conv", f"{layer}.norm")


def _backbone_slots(blocks: tuple[int, ...]) -> list[WeightSlot]:
    slots = [_slot(0, "backbone.stem")]
    section = 1
    for number, residuals in enumerate(blocks, start=1):
        slots.append(_slot(section, f"backbone.block{number}.down"))
        section += 1
        for index in range(residuals):
            unit = f"backbone.block{number}.residual{index}"
            slots += [_slot(section, f"{unit}.conv1"), _slot(section + 1, f"{unit}.conv2")]
            section += 3  # two convolutions and the shortcut
    return slots
