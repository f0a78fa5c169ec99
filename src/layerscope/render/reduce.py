"""All channels of a layer as one picture.

Cells that are NaN or Inf do not count: each cell is reduced over its finite channels, and a cell
that is finite in no channel becomes NaN, which the scales draw as 0 and report. All rules but
``pca`` are homogeneous, which lets them run on values of any magnitude without overflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerscope.errors import InputError, OptionError, nearest
from layerscope.render.statistics import as_float_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["REDUCTIONS", "reduce_channels"]

# Squares of values within these bounds neither overflow nor vanish in float32.
_SAFE_MAGNITUDES = (1e-12, 1e12)

# A component whose spread is below this share of the first one's is rounding, not data.
_NEGLIGIBLE = 1e-5


def reduce_channels(values: Tensor, how: str = "mean") -> Tensor:
    """Reduce a feature map to one picture, on its own device.

    Args:
        values: (C, H, W) of any real type, C at least 1.
        how: A name in ``REDUCTIONS``: ``mean``, ``max``, ``absmean`` (mean of absolute values),
            ``l2`` (root of the sum of squares), ``std`` (over channels, divided by C), or ``pca``
            (the first three principal components of the cells, as red, green and blue).

    Returns:
        (H, W) in the values' own units, or (H, W, 3) in [0, 1] for ``pca``; float32, or float64
        for float64.

    Raises:
        OptionError: No such reduction.
        InputError: The tensor is no (C, H, W) map, or has no channels.

    >>> import torch
    >>> reduce_channels(torch.tensor([[[3.0]], [[-4.0]]]), "l2").tolist()
    [[5.0]]
    """
    if how not in REDUCTIONS:
        raise OptionError(f"no reduction '{how}'; choose one of {', '.join(REDUCTIONS)}{nearest(how, REDUCTIONS)}")
    values = as_float_map(values)
    if values.shape[0] == 0:
        raise InputError(f"cannot reduce a map without channels, got shape {tuple(values.shape)}")
    if values.numel() == 0:
        shape = tuple(values.shape[1:])
        return values.new_zeros((*shape, 3) if how == "pca" else shape)
    finite = values.isfinite()
    values = values.where(finite, 0.0)
    peak = float(values.abs().amax())
    if peak and not _SAFE_MAGNITUDES[0] < peak < _SAFE_MAGNITUDES[1]:
        scaled = REDUCTIONS[how](values / peak, finite)
        return scaled if how == "pca" else scaled * peak
    return REDUCTIONS[how](values, finite)


def _mean(values: Tensor, finite: Tensor) -> Tensor:
    """Mean over channels."""
    return values.sum(0) / finite.sum(0)


def _max(values: Tensor, finite: Tensor) -> Tensor:
    """Largest value of any channel."""
    largest = values.where(finite, float("-inf")).amax(0)
    return largest.where(finite.any(0), float("nan"))


def _absmean(values: Tensor, finite: Tensor) -> Tensor:
    """Mean of absolute values over channels."""
    return _mean(values.abs(), finite)


def _l2(values: Tensor, finite: Tensor) -> Tensor:
    """Length of each cell's vector."""
    return values.square().sum(0).sqrt().where(finite.any(0), float("nan"))


def _std(values: Tensor, finite: Tensor) -> Tensor:
    """Population standard deviation over channels."""
    # Seen from the first channel, so that equal channels give exactly zero.
    values = (values - values[0]).where(finite, 0.0)
    centred = (values - _mean(values, finite)).where(finite, 0.0)
    return _mean(centred.square(), finite).sqrt()


def _pca(values: Tensor, finite: Tensor) -> Tensor:
    """First three principal components of the cells, each from 0 to 1.

    A component that the data does not have (fewer channels or cells than three, or no spread) is
    0.5 throughout, so a constant map is mid grey. Signs are such that the channel that weighs
    most in a component weighs in positively.
    """
    import torch

    channels, height, width = values.shape
    cells = values.flatten(1)
    known = finite.flatten(1)
    # A channel without one finite cell has nothing to centre: 0 / 1.
    centre = cells.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    cells = (cells - centre).where(known, 0.0)
    # Channels and cells give the same components; the smaller matrix gives them faster.
    by_channel = channels <= cells.shape[1]
    gram = cells @ cells.T if by_channel else cells.T @ cells
    # On the host: the eigenvectors of one map are then the same whatever the device.
    _, vectors = torch.linalg.eigh(gram.double().cpu())
    vectors = vectors.flip(1)[:, :3].to(values)
    loadings = vectors if by_channel else cells @ vectors
    components = cells.T @ vectors if by_channel else vectors * torch.linalg.vector_norm(loadings, dim=0)
    heaviest = loadings.gather(0, loadings.abs().argmax(0, keepdim=True))
    components = components * torch.where(heaviest < 0, -1.0, 1.0).to(values)

    colours = values.new_full((height * width, 3), 0.5)
    low, high = components.amin(0), components.amax(0)
    spread = high - low
    floor = max(float(spread[0]) * _NEGLIGIBLE, float(centre.abs().amax()) * torch.finfo(values.dtype).eps * 4)
    for index in range(components.shape[1]):
        if float(spread[index]) > floor:
            colours[:, index] = (components[:, index] - low[index]) / spread[index]
    return colours.clamp_(0, 1).reshape(height, width, 3)


REDUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "max": _max,
    "absmean": _absmean,
    "l2": _l2,
    "std": _std,
    "pca": _pca,
}
