"""Stages of networks that do not name theirs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerscope.models.stages import find_stages
from layerscope.models.survey import survey
from layerscope.models.wrapped import named_layers


def stages_of(net: nn.Module, size: int = 64) -> tuple[str, ...]:
    return find_stages(survey(net.eval(), torch.rand(1, 3, size, size)), named_layers(net).keys())


class Squeeze(nn.Module):
    """Goes to one cell and back inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.pool(x)).sigmoid()


def down(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 1), nn.Conv2d(outside, outside, 3, 2, 1), Squeeze(outside))


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.layer1, self.layer2 = down(4, 8), down(8, 16)
        self.neck = nn.Conv2d(16, 8, 1)
        self.join = nn.Conv2d(16, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 5, 3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(self.stem(x))
        up = F.interpolate(self.neck(self.layer2(x)), scale_factor=2)
        return self.head(self.join(torch.cat([x, up], 1)))


class Tokens(nn.Module):
    """Patches of 8, a class token, then patches merged to 16: channels last, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, 12, 8, 8), nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))
        self.merged = nn.Linear(48, 24)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.blocks(self.patches(x).flatten(2).transpose(1, 2))  # (1, 64, 12)
        grid = tokens.reshape(1, 4, 2, 4, 2, 12).permute(0, 1, 3, 2, 4, 5).reshape(1, 4, 4, 48)
        return self.merged(grid)  # (1, 4, 4, 24)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Detector(), ("stem", "layer1", "layer2")),
        (Tokens(), ("blocks", "merged")),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)), ("1", "3")),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4)), ()),
    ],
)
def test_the_last_outermost_layer_of_each_size_is_a_stage(net: nn.Module, expected: tuple[str, ...]) -> None:
    assert stages_of(net) == expected
