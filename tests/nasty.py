"""Three networks of (N, 3, H, W) that do everything that breaks naive hooks; sources as ``tests/nasty.py:Name``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations


class InPlace(nn.Module):
    """Overwrites what it gave: residuals and activations in place, slices assigned, modules that run again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)  # runs three times
        self.branch = nn.Conv2d(4, 4, 1)
        self.alias = self.branch  # the same module by another name
        self.first, self.second = nn.Identity(), nn.Identity()  # give what they are given

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        out = self.branch(x)
        out += x
        out = self.relu(out)
        again = self.alias(out)
        again.relu_()
        again[:, :2] = again[:, :2] * 2
        once = self.first(again)
        twice = self.second(once)
        twice.mul_(0.5).add_(out)
        return self.relu(F.leaky_relu_(twice - 1, 0.1))


class Outputs(nn.Module):
    """Gives tuples, lists, dicts and None, calls parts instead of wholes, and some modules never."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential()  # empty: what goes in comes out, and it is never called
        self.body = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(), nn.SiLU(inplace=True)])
        self.split = Split()
        self.named = Named()
        self.never = nn.Conv2d(4, 4, 1)
        self.sometimes = nn.Conv2d(4, 4, 1)  # called if the values say so
        self.pieces = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())
        self.nothing = Nothing()
        self.rnn = nn.LSTM(4, 5, num_layers=2, batch_first=True)
        self.lost = nn.ModuleDict({"a": nn.Conv2d(4, 4, 1), "b": nn.Conv2d(4, 4, 1)})

    def forward(self, x: Tensor) -> dict[str, object]:
        for at, part in enumerate(self.body):
            if at != 1:
                x = part(x)
        first, second = self.split(x)
        kept = self.named(second, scale=torch.tensor(2.0))["kept"]
        self.nothing(kept)
        if kept.mean() > 1e6:
            kept = self.sometimes(kept)
        for piece in self.pieces[:2]:
            kept = piece(kept)
        rows, (hidden, _) = self.rnn(kept.mean(2).transpose(1, 2))
        return {"map": first + self.lost["a"](kept), "rows": rows, "more": [hidden, None, "text"]}


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return x * 2, [x - 1, x + 1]


class Named(nn.Module):
    def forward(self, parts: list[Tensor], *, scale: Tensor) -> dict[str, object]:
        return {"kept": parts[0] * scale, "words": "no tensor", "nested": (parts[1], None)}


class Nothing(nn.Module):
    def forward(self, _x: Tensor) -> None:
        return None


class Layouts(nn.Module):
    """Channels last, tokens with a class token, attention, parametrised weights, half precision, random numbers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(width, 2, 16, batch_first=True)
        self.spectral = parametrizations.spectral_norm(nn.Linear(width, width))
        self.weighted = parametrizations.weight_norm(nn.Conv2d(width, width, 1))
        self.dropout = nn.Dropout(0.5)
        self.volume = nn.Conv3d(1, 4, 3, padding=1)
        self.line = nn.Conv1d(width, 6, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = self.patches(x)
        last = self.norm(maps.permute(0, 2, 3, 1))  # (N, H, W, C)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), last.flatten(1, 2)], 1)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=True, average_attn_weights=False)
        tokens = self.encoder(tokens + attended)
        tokens = self.spectral(self.dropout(tokens))
        weighted = self.weighted(last.permute(0, 3, 1, 2))
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            volume = self.volume(weighted[:, None])
        return tokens, volume, self.line(weighted.flatten(2)), weighted + torch.rand_like(weighted) * 1e-3


def build(kind: str = "InPlace", **options: int) -> nn.Module:
    """What a source's ``--arg kind=NAME`` is passed to."""
    return {"InPlace": InPlace, "Outputs": Outputs, "Layouts": Layouts}[kind](**options)
