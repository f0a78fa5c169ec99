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
    found: dict[str, nn.Module] = {}

    def look_into(part: nn.Module, prefix: str) -> None:
        for name, child in part._modules.items():
            if child is not None:
                # A compiled part and what it wraps have one name; the latter comes last, and stays.
                path = prefix[:-1] if name == COMPILED else prefix + name
                found[path] = child
                look_into(child, f"{path}.")

    look_into(unwrapped(module), "")  # it is called for every frame, and PyTorch's own walk takes many times as long
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
