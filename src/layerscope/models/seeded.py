"""Random weights that are always the same: each tensor depends on the seed and its own name, on nothing else."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

__all__ = ["seeded_tensor"]


def seeded_tensor(key: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw one parameter or buffer of a network.

    Weights have variance 1 / fan-in (LeCun et al., "Efficient BackProp", 1998), so that through tens of
    layers, residual or not, values neither vanish nor explode; batch norms start as what changes little.

    Args:
        key: Its state-dict key.
        shape: Its shape.
        seed: The run's seed.

    Returns:
        Tensor of that shape, float32 (int64 for a counter).

    >>> bool((seeded_tensor("a.weight", (4, 3, 1, 1), 0) == seeded_tensor("a.weight", (4, 3, 1, 1), 0)).all())
    True
    """
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{key}".encode()))
    noise: Tensor = torch.randn(shape, generator=generator)
    if key.endswith("running_var"):
        return torch.ones(shape)
    if len(shape) > 1:
        fan_in = max(1, noise[0].numel())
        return noise.mul_(fan_in**-0.5)
    if key.endswith(".weight"):
        return 1 + 0.1 * noise
    return 0.1 * noise
