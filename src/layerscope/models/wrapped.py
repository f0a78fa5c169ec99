"""Modules inside what other code wraps around them: compilation, data parallelism."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from layerscope.errors import LayerError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["in_the_open", "named_layers", "unwrapped"]

COMPILED = "_orig_mod"
"""What ``torch.compile`` calls the module inside the one that it returns."""


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the network inside ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile``."""
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(inner := module._modules.get(COMPILED), nn.Module):
            module = inner
        else:
            return module


def named_layers(module: nn.Module) -> dict[str, nn.Module]:
    """List every submodule under every name that it has, in order of definition, the module itself left out.

    Wrappers are looked through: a compiled part goes by the name of what it wraps.
    """
    found = {}
    for name, child in unwrapped(module).named_modules(remove_duplicate=False):
        path = ".".join(part for part in name.split(".") if part != COMPILED)
        if path:
            found[path] = child  # of a compiled part and what it wraps, the latter comes last
    return found


@contextmanager
def in_the_open(module: nn.Module) -> Iterator[None]:
    """Let compiled parts run uncompiled for a while: compiled code does not call hooks that came later.

    Raises:
        LayerError: Part of the module runs in copies on several devices, which hooks do not see as one.
    """
    compiled = False
    for name, part in module.named_modules():
        if isinstance(part, nn.DataParallel) and len(part.device_ids) > 1:
            raise LayerError(
                f"{name or type(part).__name__} runs a copy on each of {len(part.device_ids)} devices, each with its "
                "share of the batch; use its .module instead"
            )
        compiled |= COMPILED in part._modules or getattr(part, "_compiled_call_impl", None) is not None
    if compiled and "torch._dynamo" in sys.modules:
        with torch.compiler.set_stance("force_eager"):
            yield
    else:
        yield
