"""A forward pass in the midst of training that leaves no trace in it."""

from __future__ import annotations

import random
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

__all__ = ["undisturbed"]


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a while; afterwards all is as it was.

    Kept: every submodule's ``training`` flag, and the random states of Python, NumPy and PyTorch on every
    device in use. The flags are set one by one, so that a module that does more than setting a flag when its
    mode changes does not do it. No gradient is recorded, and under autocast no weight is cached that the
    training would then find without its graph.
    """
    device = next((tensor.device.type for tensor in module.parameters()), "cpu")
    python, array = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what training uses
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with ExitStack() as stack:
        for part in module.modules():
            stack.callback(setattr, part, "training", part.training)
        stack.callback(random.setstate, python)
        stack.callback(np.random.set_state, array)
        if torch.backends.mps.is_available():
            stack.callback(torch.mps.set_rng_state, torch.mps.get_rng_state())
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.no_grad())
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
        for part in module.modules():
            part.training = False
        yield
