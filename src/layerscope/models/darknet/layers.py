"""Darknet's layers as modules: what each section of a cfg computes at inference.

Every module takes and gives ``(N, C, H, W)`` float tensors and never writes into what it was given, so that
a hook sees each layer's own output. Sources: the papers named below and the behaviour of Darknet's C code
(https://github.com/pjreddie/darknet, https://github.com/AlexeyAB/darknet), restated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ACTIVATIONS",
    "AveragePool",
    "Connected",
    "Convolutional",
    "Crop",
    "LocalAveragePool",
    "MaxPool",
    "Reorg",
    "Reorg3d",
    "Softmax",
    "Upsample",
]

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "hardtan": nn.Hardtanh,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "linear": nn.Identity,
    "logistic": nn.Sigmoid,
    "mish": nn.Mish,
    "relie": lambda: nn.LeakyReLU(0.01),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}


class Convolutional(nn.Module):
    """``[convolutional]``: convolution, batch norm where the cfg asks for it, activation."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, filters, H', W')``."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.activation(x)  # type: ignore[no-any-return]


class Connected(nn.Module):
    """``[connected]``: every output sees every number of the input."""

    def __init__(self, linear: nn.Linear, norm: nn.BatchNorm1d | None, activation: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Flatten ``(N, C, H, W)`` and give ``(N, outputs, 1, 1)``."""
        x = self.linear(x.flatten(1))
        if self.norm is not None:
            x = self.norm(x)
        x = self.activation(x)
        return x[:, :, None, None]


class MaxPool(nn.Module):
    """``[maxpool]``: the largest value of each window.

    ``padding`` counts the rows (and columns) added in all: half of them, rounded down, before the first
    row, the rest after the last. They are minus infinity, so they never win. Darknet's default is
    ``size - 1``, which gives ``ceil(H / stride)`` rows.

    Args:
        size: Side of the window, pixels.
        stride_yx: Step of the window.
        padding: Rows and columns added in all.
    """

    def __init__(self, size: int, stride_yx: tuple[int, int], padding: int) -> None:
        super().__init__()
        self.size = size
        self.stride_yx = stride_yx
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C, H', W')`` with ``H' = (H + padding - size) // stride + 1``."""
        return F.max_pool2d(self.padded(x, -torch.inf), self.size, self.stride_yx)

    def padded(self, x: Tensor, value: float) -> Tensor:
        """Add the rows and columns that some window reaches; those that none reaches cost a copy."""
        before = self.padding // 2
        after = [
            (length + self.padding - self.size) // stride * stride + self.size - length - before
            for length, stride in zip(x.shape[-2:], self.stride_yx, strict=True)
        ]
        bottom, right = (max(rest, 0) for rest in after)
        if before == bottom == right == 0:
            return x
        return F.pad(x, (before, right, before, bottom), value=value)

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"size={self.size}, stride_yx={self.stride_yx}, padding={self.padding}"


class LocalAveragePool(MaxPool):
    """``[local_avgpool]``: windows as in :class:`MaxPool`, the mean of what lies inside the picture."""

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C, H', W')``."""
        total = F.avg_pool2d(self.padded(x, 0.0), self.size, self.stride_yx)
        inside = self.padded(torch.ones_like(x[:1, :1]), 0.0)
        return total / F.avg_pool2d(inside, self.size, self.stride_yx)


class AveragePool(nn.Module):
    """``[avgpool]``: the mean over the whole picture."""

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C, 1, 1)``."""
        return x.mean(dim=(2, 3), keepdim=True)


class Upsample(nn.Module):
    """``[upsample]``: each cell becomes ``stride`` x ``stride`` equal ones, times ``scale``."""

    def __init__(self, stride: int, scale: float) -> None:
        super().__init__()
        self.stride = stride
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C, H * stride, W * stride)``."""
        x = F.interpolate(x, scale_factor=self.stride, mode="nearest")
        return x if self.scale == 1 else x * self.scale

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"stride={self.stride}, scale={self.scale}"


class Reorg(nn.Module):
    """``[reorg]``: space to depth in YOLOv2's order, which is none that one would choose.

    Redmon and Farhadi, "YOLO9000", 2017, section 2, call it passthrough. The code reads the input's memory
    as if it were ``(C / s^2, H * s, W * s)``, takes the s x s blocks of that apart into ``(C, H, W)``, and
    names the same memory ``(C * s^2, H / s, W / s)``. Trained weights expect it so.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C * stride^2, H / stride, W / stride)``."""
        n, channels, height, width = x.shape
        step = self.stride
        blocks = x.reshape(n, channels // step**2, height, step, width, step)
        # Axes: picture, channel, row, row in block, column, column in block.
        apart = blocks.permute(0, 3, 5, 1, 2, 4)
        return apart.reshape(n, channels * step**2, height // step, width // step)

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"stride={self.stride}"


class Reorg3d(Reorg):
    """``[reorg3d]``: plain space to depth: channel ``(dy * s + dx) * C + c`` is pixel (dy, dx) of ``c``."""

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C * stride^2, H / stride, W / stride)``."""
        n, channels, height, width = x.shape
        step = self.stride
        blocks = x.reshape(n, channels, height // step, step, width // step, step)
        apart = blocks.permute(0, 3, 5, 1, 2, 4)
        return apart.reshape(n, channels * step**2, height // step, width // step)


class Softmax(nn.Module):
    """``[softmax]``: over all numbers of a picture in equal groups, or over the channels of each cell.

    Args:
        groups: Number of groups that the flattened picture is cut into.
        temperature: What the inputs are divided by.
        spatial: Whether each cell has its own softmax over the channels.
    """

    def __init__(self, groups: int, temperature: float, spatial: bool) -> None:
        super().__init__()
        self.groups = groups
        self.temperature = temperature
        self.spatial = spatial

    def forward(self, x: Tensor) -> Tensor:
        """Give probabilities in the input's shape."""
        if self.temperature != 1:
            x = x / self.temperature
        if self.spatial:
            return x.softmax(dim=1)
        return x.reshape(x.shape[0], self.groups, -1).softmax(dim=2).reshape(x.shape)

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"groups={self.groups}, temperature={self.temperature}, spatial={self.spatial}"


class Crop(nn.Module):
    """``[crop]``: the middle of the picture; [0, 1] becomes [-1, 1] unless ``noadjust`` is set."""

    def __init__(self, size_hw: tuple[int, int], adjust: bool) -> None:
        super().__init__()
        self.size_hw = size_hw
        self.adjust = adjust

    def forward(self, x: Tensor) -> Tensor:
        """Give ``(N, C, crop_height, crop_width)``."""
        height, width = self.size_hw
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        x = x[:, :, top : top + height, left : left + width]
        return x * 2 - 1 if self.adjust else x

    def extra_repr(self) -> str:
        """Show the options beside the class name."""
        return f"size_hw={self.size_hw}, adjust={self.adjust}"
