"""Two small networks that others trained, written anew; sources as ``tests/trained.py:ResNet20`` and the like."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FastestDet", "ResNet20"]


class Residual(nn.Module):
    """Two convolutions and a way past them that has no weights."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride, self.added = stride, (outside - inside) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added, self.added))
        out += x
        return F.relu(out)


class ResNet20(nn.Module):
    """For pictures of 32 x 32, ten classes (He et al., "Deep Residual Learning for Image Recognition", 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Residual(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Residual(16, 32, 2), *(Residual(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(Residual(32, 64, 2), *(Residual(64, 64, 1) for _ in range(2)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.avg_pool2d(x, x.shape[2:]).flatten(1))


def convolved(inside: int, outside: int, kernel: int = 1, *, stride: int = 1, each: bool = False) -> list[nn.Module]:
    """A convolution, of each channel for itself if asked for, and its batch norm."""
    groups = inside if each else 1
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outside)]


def active() -> nn.Module:
    return nn.ReLU(inplace=True)


class Shuffle(nn.Module):
    """A block of ShuffleNetV2 (Ma et al., 2018): half of the channels pass, or all of them twice and smaller."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        middle = outside // 2
        into = inside if stride > 1 else inside // 2
        own = outside - inside if stride > 1 else outside - into
        self.branch_main = nn.Sequential(
            *convolved(into, middle),
            active(),
            *convolved(middle, middle, 3, stride=stride, each=True),
            *convolved(middle, own),
            active(),
        )
        if stride > 1:
            self.branch_proj = nn.Sequential(
                *convolved(inside, inside, 3, stride=2, each=True), *convolved(inside, inside), active()
            )
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        return torch.cat([x[:, 0::2], self.branch_main(x[:, 1::2])], 1)


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*convolved(3, 24, 3, stride=2), active())
        inside = 24
        for number, (outside, blocks) in enumerate([(48, 4), (96, 8), (192, 4)], start=2):
            parts = [Shuffle(inside, outside, 2), *(Shuffle(outside, outside, 1) for _ in range(blocks - 1))]
            setattr(self, f"stage{number}", nn.Sequential(*parts))
            inside = outside

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(self.first_conv(x), 3, 2, 1)
        second = self.stage2(x)
        third = self.stage3(second)
        return second, third, self.stage4(third)


class OneByOne(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Sequential(*convolved(inside, outside), active())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x)


class Pyramid(nn.Module):
    """One, two and three convolutions of 5 x 5 side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.Conv1x1 = OneByOne(336, width)
        for count in (1, 2, 3):
            parts = [part for _ in range(count) for part in (*convolved(width, width, 5, each=True), active())]
            setattr(self, f"S{count}", nn.Sequential(*parts))
        self.output = nn.Sequential(*convolved(3 * width, width))
        self.relu = active()

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv1x1(x)
        together = self.output(torch.cat([self.S1(x), self.S2(x), self.S3(x)], 1))
        return self.relu(x + together)


class FiveByFive(nn.Module):
    def __init__(self, width: int, outside: int) -> None:
        super().__init__()
        self.conv5x5 = nn.Sequential(*convolved(width, width, 5, each=True), active(), *convolved(width, outside))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv5x5(x)


class DetectHead(nn.Module):
    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.conv1x1 = OneByOne(width, width)
        self.obj_layers = FiveByFive(width, 1)
        self.reg_layers = FiveByFive(width, 4)
        self.cls_layers = FiveByFive(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1x1(x)
        return torch.cat([self.obj_layers(x).sigmoid(), self.reg_layers(x), self.cls_layers(x).softmax(1)], 1)


class FastestDet(nn.Module):
    """A detector of 80 classes on ShuffleNetV2, one scale, 352 x 352, BGR."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.SPP = Pyramid(96)
        self.detect_head = DetectHead(96, 80)

    def forward(self, x: Tensor) -> Tensor:
        second, third, fourth = self.backbone(x)
        smaller = F.avg_pool2d(second, 3, 2, 1)
        larger = F.interpolate(fourth, scale_factor=2)
        return self.detect_head(self.SPP(torch.cat([smaller, third, larger], 1)))
