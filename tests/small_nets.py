"""Small networks in a module of their own, so that they can be pickled, traced and scripted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x)) + x


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x - 1


class Branching(nn.Module):
    """Parts of the same class, a part that runs twice, a tuple, and a choice by the values."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Sequential(Residual(4), Residual(4))
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.pair = Pair()
        self.never = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.body(self.stem(x)))
        first, second = self.pair(self.down(x))
        if bool(first.sum() > 1e9):
            second = self.never(second)
        return torch.cat([first, second], 1)


class Plain(nn.Module):
    """Without a choice, for what traces symbolically."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.body = nn.Sequential(Residual(4), Residual(4))
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.body(self.stem(x)))
