"""Darknet's layers that read earlier layers by their index: route, shortcut, scale_channels, sam.

Each is called with one tensor per layer that it reads, ``(N, C, H, W)`` of equal height and width.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Route", "Sam", "ScaleChannels", "Shortcut", "WeightedShortcut"]


class Route(nn.Module):
    """``[route]``: the channels of its sources one after another, or one group of each source's.

    Args:
        groups: Number of equal groups that each source's channels are cut into.
        group_id: The group taken, from 0.
    """

    def __init__(self, groups: int = 1, group_id: int = 0) -> None:
        super().__init__()
        self.groups = groups
        self.group_id = group_id

    def forward(self, *sources: Tensor) -> Tensor:
        """Give ``(N, sum of the sources' channels / groups, H, W)``."""
        if self.groups > 1:
            sources = tuple(self._group(source) for source in sources)
        return sources[0] if len(sources) == 1 else torch.cat(sources, dim=1)

    def _group(self, source: Tensor) -> Tensor:
        count = source.shape[1] // self.groups
        return source.narrow(1, self.group_id * count, count)

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"groups={self.groups}, group_id={self.group_id}"


class Shortcut(nn.Module):
    """``[shortcut]``: the layer before plus earlier ones, then the activation.

    The output has the channels of the layer before. A source with fewer channels is added to the first of
    them; of a source with more, only the first are added.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor, *sources: Tensor) -> Tensor:
        """Give the shape of ``x``, the layer before."""
        for source in sources:
            x = _added(x, source)
        return self.activation(x)  # type: ignore[no-any-return]


class WeightedShortcut(nn.Module):
    """``[shortcut]`` with ``weights_type``: as :class:`Shortcut`, each term times a trained weight.

    Args:
        terms: Number of terms, the layer before included.
        channels: 1 where a term has one weight (``per_feature``), else that of the layer before.
        normalization: How the terms' weights are made to sum to one; Darknet adds 0.0001 to the divisor.
        activation: Applied to the sum.
    """

    def __init__(
        self,
        terms: int,
        channels: int,
        normalization: Literal["none", "relu", "softmax"],
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(terms, channels, 1, 1))
        self.normalization = normalization
        self.activation = activation

    def forward(self, *terms: Tensor) -> Tensor:
        """Give the shape of the first term, the layer before."""
        weight = self._normalized()
        x = terms[0] * weight[0]
        for term, factor in zip(terms[1:], weight[1:], strict=True):
            count = min(x.shape[1], term.shape[1])
            x = _added(x, term[:, :count] * factor[:count])
        return self.activation(x)  # type: ignore[no-any-return]

    def _normalized(self) -> Tensor:
        weight: Tensor = self.weight
        if self.normalization == "relu":
            weight = weight.relu()
        elif self.normalization == "softmax":
            weight = (weight - weight.amax(dim=0)).exp()
        else:
            return weight
        return weight / (weight.sum(dim=0) + 1e-4)

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"terms={self.weight.shape[0]}, normalization={self.normalization!r}"


class ScaleChannels(nn.Module):
    """``[scale_channels]``: an earlier layer times the layer before, as squeeze-and-excite wants it.

    The layer before is ``(N, C, 1, 1)``, or with ``scale_wh`` ``(N, 1, H, W)``.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, factor: Tensor, source: Tensor) -> Tensor:
        """Give the shape of ``source``."""
        return self.activation(source * factor)  # type: ignore[no-any-return]


class Sam(ScaleChannels):
    """``[sam]``: an earlier layer times the layer before, number by number (YOLOv4's spatial attention)."""


def _added(x: Tensor, source: Tensor) -> Tensor:
    """Add the channels that both have; the result has those of ``x``."""
    count = min(x.shape[1], source.shape[1])
    if count == x.shape[1] == source.shape[1]:
        return x + source
    return torch.cat((x[:, :count] + source[:, :count], x[:, count:]), dim=1)
