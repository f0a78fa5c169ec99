"""What the cells of every channel amount to: range, mean, zeros, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from layerscope.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["ChannelExtent", "ChannelStatistics", "channel_extent", "channel_marks", "channel_statistics"]

# Brings the largest value of a float type down to where adding up cannot overflow; exact.
_SUM_GUARD = 2.0**-40


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelExtent:
    """The range of every channel; all arrays are (C,).

    Attributes:
        min: Smallest finite value, float64; NaN where the channel has none.
        max: Largest finite value, float64; NaN where the channel has none.
        constant: Every cell is finite and holds the same value. True of any finite 1 x 1 map.
        nan: Some cell is NaN.
        inf: Some cell is +Inf or -Inf.
    """

    min: NDArray[np.float64]
    max: NDArray[np.float64]
    constant: NDArray[np.bool_]
    nan: NDArray[np.bool_]
    inf: NDArray[np.bool_]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """(C,) False where any cell is NaN or Inf."""
        return ~(self.nan | self.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelStatistics(ChannelExtent):
    """An extent with the averages beside it; all arrays are (C,).

    Attributes:
        mean: Mean of the finite values, float64; NaN where the channel has none.
        zero_share: Share of all cells that are exactly zero, 0 to 1, float64.
    """

    mean: NDArray[np.float64]
    zero_share: NDArray[np.float64]


def as_float_map(values: Tensor) -> Tensor:
    """Check that a tensor is a feature map and bring it to the type that it is computed in.

    Args:
        values: (C, H, W) of any real type.

    Returns:
        (C, H, W) detached, on the same device; float64 stays, all else becomes float32. It may
        share memory with ``values``.

    Raises:
        InputError: The tensor has another rank, or is complex.
    """
    import torch

    if values.ndim != 3:
        raise InputError(f"expected a (C, H, W) map, got shape {tuple(values.shape)}; take one item of the batch")
    if values.is_complex():
        raise InputError(f"expected real values, got {values.dtype}; draw .abs() or .real")
    return values.detach().to(torch.float64 if values.dtype == torch.float64 else torch.float32)


def channel_extent(values: Tensor) -> ChannelExtent:
    """Find the range of every channel.

    Args:
        values: (C, H, W) of any real type.

    Returns:
        Ranges of the finite values, and which channels are constant or hold NaN or Inf.

    Raises:
        InputError: The tensor is no (C, H, W) map.
    """
    values = as_float_map(values)
    count = values.shape[0]
    if values.numel() == 0:
        nothing, no = np.full(count, np.nan), np.zeros(count, np.bool_)
        return ChannelExtent(min=nothing, max=nothing.copy(), constant=no, nan=no.copy(), inf=no.copy())
    # Both reductions hand NaN on, so a channel whose two ends are finite is finite throughout
    # and the slower look at single cells is for the others only.
    low, high = _to_numpy(values.amin((1, 2))), _to_numpy(values.amax((1, 2)))
    nan, inf = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    for index in np.flatnonzero(~(np.isfinite(low) & np.isfinite(high))):
        channel = values[int(index)]
        finite = channel[channel.isfinite()]
        nan[index] = bool(channel.isnan().any())
        inf[index] = bool(channel.isinf().any())
        low[index] = float(finite.min()) if finite.numel() else np.nan
        high[index] = float(finite.max()) if finite.numel() else np.nan
    return ChannelExtent(min=low, max=high, constant=(low == high) & ~nan & ~inf, nan=nan, inf=inf)


def channel_statistics(values: Tensor) -> ChannelStatistics:
    """Measure every channel with a handful of reductions.

    Args:
        values: (C, H, W) of any real type.

    Returns:
        Range, mean and share of zeros of every channel, and which are constant, NaN or Inf.

    Raises:
        InputError: The tensor is no (C, H, W) map.

    >>> import torch
    >>> measured = channel_statistics(torch.tensor([[[0.0, 2.0]], [[3.0, 3.0]], [[1.0, float("nan")]]]))
    >>> measured.mean.tolist(), measured.zero_share.tolist()
    ([1.0, 3.0, 1.0], [0.5, 0.0, 0.0])
    >>> measured.constant.tolist(), measured.finite.tolist()
    ([False, True, False], [True, True, False])
    """
    values = as_float_map(values)
    extent = channel_extent(values)
    if values.numel() == 0:
        mean, zero_share = np.full(values.shape[0], np.nan), np.zeros(values.shape[0])
    else:
        mean = _to_numpy(values.mean((1, 2)))
        for index in np.flatnonzero(~np.isfinite(mean)):
            channel = values[int(index)]
            finite = channel[channel.isfinite()]
            mean[index] = float((finite * _SUM_GUARD).mean()) / _SUM_GUARD if finite.numel() else np.nan
        zero_share = _to_numpy(values.clone().eq_(0).mean((1, 2)))
    return ChannelStatistics(
        min=extent.min,
        max=extent.max,
        constant=extent.constant,
        nan=extent.nan,
        inf=extent.inf,
        mean=mean,
        zero_share=zero_share,
    )


def channel_marks(extent: ChannelExtent, *, single_cell: bool = False) -> list[str]:
    """Word what is out of the ordinary with every channel, for the tiles of a sheet.

    Args:
        extent: Ranges or statistics of C channels.
        single_cell: The map is 1 x 1, where every channel is constant and saying so tells nothing.

    Returns:
        C marks, empty for an ordinary channel.

    >>> import torch
    >>> channel_marks(channel_extent(torch.tensor([[[0.0, 2.0]], [[3.0, 3.0]], [[1.0, float("inf")]]])))
    ['', 'constant', 'Inf']
    """
    constant = extent.constant & (not single_cell)
    marks = [""] * len(constant)
    for index in np.flatnonzero(constant | ~extent.finite):
        holds = (("NaN", extent.nan[index]), ("Inf", extent.inf[index]), ("constant", constant[index]))
        marks[index] = " ".join(word for word, true in holds if true)
    return marks


def _to_numpy(numbers: Tensor) -> NDArray[np.float64]:
    """Bring (C,) numbers to the host."""
    return np.asarray(numbers.cpu().numpy(), dtype=np.float64).copy()
