"""The rules that take values to [0, 1] and on to bytes.

==============  ===============================================  =============================
rule            becomes 0 and 255                                shows
==============  ===============================================  =============================
``channel``     smallest and largest value of the channel        the shape within each channel
``layer``       smallest and largest value of the layer          how channels compare
``percentile``  1st and 99th percentile of the layer, clipped    the same, outliers aside
``symmetric``   minus and plus the layer's largest magnitude     signs: zero is in the middle
``unit``        0 and 1, clipped                                 the values, times 255
==============  ===============================================  =============================

What is out of the ordinary is drawn by rule as well:

- Ranges come from finite values only. +Inf is drawn 255, -Inf 0 and NaN 0; the result says
  which channels hold them.
- Where the range is a single value (a constant channel under ``channel``, a constant layer under
  ``layer`` and ``percentile``), zero is drawn 0 and any other constant as mid grey, 128: a dead
  channel stays black, and a live constant one looks neither dead nor saturated.
- Under ``symmetric`` and ``unit`` a constant means what it means everywhere: zero is 128 in the
  one and 0 in the other.
- Where more than 98 of 100 cells are equal the two percentiles coincide; the range is then the
  layer's own.
- A range wider than the type holds is computed on a quarter of the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.errors import OptionError, nearest
from layerscope.render.statistics import ChannelExtent, as_float_map, channel_extent

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    # What a rule chooses: the values that become 0 and 255, (C,) float64 each and finite.
    Ends = tuple[NDArray[np.float64], NDArray[np.float64]]
    RangeRule = Callable[[Tensor, ChannelExtent, tuple[float, float]], Ends]

__all__ = ["SCALES", "Scaled", "to_bytes", "to_unit"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """A feature map as bytes, and what the bytes mean.

    Attributes:
        bytes: (C, H, W) uint8, on the device of the values.
        low: (C,) float64, the value that became 0; 0 where a channel has no finite value.
        high: (C,) float64, the value that became 255; equal to ``low`` where the range is one value.
        rule: The name of the rule.
        extent: The channels' own ranges, and which are constant or hold NaN or Inf.
    """

    bytes: Tensor
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rule: str
    extent: ChannelExtent

    @property
    def shared_range(self) -> tuple[float, float] | None:
        """The one range that serves all channels; None where each has its own, or there are none."""
        if not len(self.low) or np.ptp(self.low) or np.ptp(self.high):
            return None
        return float(self.low[0]), float(self.high[0])


def to_bytes(
    values: Tensor,
    rule: str = "channel",
    *,
    percentiles: tuple[float, float] = (1.0, 99.0),
    extent: ChannelExtent | None = None,
) -> Scaled:
    """Scale a feature map to bytes, on its own device.

    Under ``unit`` this is what OpenCV's ``imwrite`` makes of ``values * 255``: rounded to
    nearest, halves to even, and clipped. Where OpenCV overflows the 32-bit integer that it rounds
    to (Inf, NaN and beyond 2**31, which it writes as 0 on x86), the clipped value is kept.

    Args:
        values: (C, H, W) of any real type; computed in float32, float64 in float64.
        rule: A name in ``SCALES``.
        percentiles: Lower and upper percentile, 0 to 100, for ``percentile``.
        extent: What ``channel_extent`` or ``channel_statistics`` gave for these values, if known.

    Returns:
        The bytes, and the values that became 0 and 255.

    Raises:
        OptionError: No such rule, or percentiles that are out of order.
        InputError: The tensor is no (C, H, W) map.

    >>> import torch
    >>> scaled = to_bytes(torch.tensor([[[-1.0, 0.0, 2.0]]]), "symmetric")
    >>> scaled.bytes.tolist(), scaled.shared_range
    ([[[64, 128, 255]]], (-2.0, 2.0))
    """
    import torch

    values = as_float_map(values)
    extent = extent if extent is not None else channel_extent(values)
    low, high = _range(values, rule, extent, percentiles)
    unit = _unit(values, rule, extent, low, high)
    return Scaled(bytes=unit.mul_(255).round_().to(torch.uint8), low=low, high=high, rule=rule, extent=extent)


def to_unit(values: Tensor, rule: str = "channel", *, percentiles: tuple[float, float] = (1.0, 99.0)) -> Tensor:
    """Scale a feature map to [0, 1]; ``to_bytes`` rounds 255 times this.

    Args:
        values: (C, H, W) of any real type.
        rule: A name in ``SCALES``.
        percentiles: Lower and upper percentile, 0 to 100, for ``percentile``.

    Returns:
        (C, H, W) float32, or float64 for float64, on the same device. It keeps the order of the
        values of one range; NaN becomes 0.

    Raises:
        OptionError: No such rule, or percentiles that are out of order.
        InputError: The tensor is no (C, H, W) map.
    """
    values = as_float_map(values)
    extent = channel_extent(values)
    return _unit(values, rule, extent, *_range(values, rule, extent, percentiles))


def _range(values: Tensor, rule: str, extent: ChannelExtent, percentiles: tuple[float, float]) -> Ends:
    """Apply a rule by name; the ends are numbers of the type computed in."""
    import torch

    if rule not in SCALES:
        raise OptionError(f"no scale '{rule}'; choose one of {', '.join(SCALES)}{nearest(rule, SCALES)}")
    lower, upper = percentiles
    if not 0 <= lower < upper <= 100:
        raise OptionError(f"percentiles must rise within 0 to 100, got {lower:g} and {upper:g}")
    low, high = SCALES[rule](values, extent, percentiles)
    dtype = np.float64 if values.dtype == torch.float64 else np.float32
    return low.astype(dtype).astype(np.float64), high.astype(dtype).astype(np.float64)


def _unit(
    values: Tensor, rule: str, extent: ChannelExtent, low: NDArray[np.float64], high: NDArray[np.float64]
) -> Tensor:
    """Take values to [0, 1] between ``low`` and ``high``; a new (C, H, W) tensor."""
    import torch

    def per_channel(numbers: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(numbers, dtype=values.dtype, device=values.device)[:, None, None]

    if rule == "unit":
        unit = values.clamp(0, 1)
    else:
        # Powers of two are exact, so a quarter of the values keeps every bit that matters.
        with np.errstate(over="ignore"):
            span = high - low
        factor = np.where(span > torch.finfo(values.dtype).max / 2, 0.25, 1.0)
        flat = span == 0
        middle = np.where(flat & ((low != 0) | (rule == "symmetric")), 0.5, 0.0)
        if (factor != 1).any():
            values = values * per_channel(factor)
            low, span = low * factor, high * factor - low * factor
        unit = values.sub(per_channel(low)).div_(per_channel(np.where(flat, 1.0, span)))
        if flat.any():
            unit.add_(per_channel(middle))
        unit.clamp_(0, 1)
    return unit.nan_to_num_(nan=0.0) if extent.nan.any() else unit


def _channel(_values: Tensor, extent: ChannelExtent, _percentiles: tuple[float, float]) -> Ends:
    """Each channel by its own smallest and largest value."""
    return np.nan_to_num(extent.min), np.nan_to_num(extent.max)


def _layer(_values: Tensor, extent: ChannelExtent, _percentiles: tuple[float, float]) -> Ends:
    """All channels by the layer's smallest and largest value."""
    known = ~np.isnan(extent.min)
    low = float(extent.min[known].min()) if known.any() else 0.0
    high = float(extent.max[known].max()) if known.any() else 0.0
    return np.full(len(known), low), np.full(len(known), high)


def _percentile(values: Tensor, extent: ChannelExtent, percentiles: tuple[float, float]) -> Ends:
    """All channels between two percentiles of the layer."""
    cells = values.flatten() if extent.finite.all() else values[values.isfinite()]
    if cells.numel():
        low, high = _quantiles(cells, percentiles)
        if low < high:
            return np.full(len(extent.min), low), np.full(len(extent.min), high)
    return _layer(values, extent, percentiles)


def _quantiles(cells: Tensor, percentiles: tuple[float, float]) -> list[float]:
    """Take percentiles by linear interpolation, of any number of cells.

    ``torch.quantile`` refuses more than 16 million; a partial sort on the host is the fastest
    there, and a sort is fast elsewhere.
    """
    last = cells.numel() - 1
    positions = [last * percentile / 100 for percentile in percentiles]
    below = [min(int(position), last) for position in positions]
    above = [min(index + 1, last) for index in below]
    if cells.device.type == "cpu":
        ranked = np.partition(cells.numpy(), sorted({*below, *above}))
        lower, upper = ranked[below].astype(np.float64), ranked[above].astype(np.float64)
    else:
        picked = cells.sort().values[below + above].cpu().numpy().astype(np.float64)
        lower, upper = picked[: len(below)], picked[len(below) :]
    parts = np.array(positions) - below
    return [float(number) for number in lower * (1 - parts) + upper * parts]


def _symmetric(values: Tensor, extent: ChannelExtent, percentiles: tuple[float, float]) -> Ends:
    """All channels between minus and plus the layer's largest magnitude."""
    low, high = _layer(values, extent, percentiles)
    reach = np.maximum(np.abs(low), np.abs(high))
    return -reach, reach


def _fixed_unit(_values: Tensor, extent: ChannelExtent, _percentiles: tuple[float, float]) -> Ends:
    """Values as they are, 0 to 1."""
    return np.zeros(len(extent.min)), np.ones(len(extent.min))


SCALES: dict[str, RangeRule] = {
    "channel": _channel,
    "layer": _layer,
    "percentile": _percentile,
    "symmetric": _symmetric,
    "unit": _fixed_unit,
}
