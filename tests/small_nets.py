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


class Gathering(nn.Module):
    """Lists, dicts and numbers between its parts, a part's own method, and names that wrappers have as well."""

    def __init__(self) -> None:
        super().__init__()
        self.script = Levels()
        self.told = Neck()
        self.cut = Cut()
        self.path = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        levels = self.script(x)
        near, _, far = self.told(self.cut(torch.cat([levels["near"], levels["far"]], 1)))
        return self.path(self.told.joined(near, far))


class Levels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        near = self.items(x)
        return {"near": near, "far": near * 2}


class Cut(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return list(torch.split(x, 4, 1))


class Neck(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, levels: list[Tensor]) -> tuple[Tensor, int, Tensor]:
        return self.side(levels[0]), 3, levels[1] + 1

    @torch.jit.export
    def joined(self, near: Tensor, far: Tensor) -> Tensor:
        return self.last(near + far)
