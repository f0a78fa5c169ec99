"""A network that gives the same maps sooner: batch norms folded into convolutions, memory laid out channels-last.

When that is done, and what it gains, is told in ``docs/architecture.md``.
"""

from __future__ import annotations

import copy
import warnings
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from layerscope.inputs import Frame, prepare
from layerscope.models.flow import follow
from layerscope.models.operations import watch_operations
from layerscope.models.survey import tensors_in
from layerscope.models.watch import INPUT, watch
from layerscope.models.wrapped import named_layers, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from layerscope.inputs import Preparation
    from layerscope.models.network import Network

__all__ = ["quicker"]

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

TOLERANCE = 2e-5
"""How far off a value may be in the trial, as a share of the map's largest: a fifth of what is promised."""

SAMPLES = 4096
"""At how many values of a map the trial looks."""

Maps: TypeAlias = dict[tuple[str, int], Tensor]
"""Values out of each map, by its name and the ordinal of the call."""


class Plan(Protocol):
    """What is listened to, as ``layerscope.hooks.select`` says it."""

    @property
    def layers(self) -> Collection[str]:
        """Names of modules; with ``@in`` behind, what they are called with."""

    @property
    def hears_operations(self) -> bool:
        """Whether operations are listened to at all."""

    def wants(self, layer: str, ordinal: int) -> bool:
        """Tell whether this call of this layer or operation is listened to."""


def quicker(net: Network, plan: Plan, preparation: Preparation, *, batch: int = 1) -> nn.Module:
    """Make a copy of a network that gives the same maps sooner, for many pictures.

    It costs two forward passes, on a copy as well: one to see what may be folded, one to try it out. The copy shares
    the weights that stay as they are, and its layers have the same names; a batch norm that was folded is an
    ``nn.Identity``.

    Args:
        net: The network, of which nothing is changed.
        plan: What is listened to.
        preparation: How its pictures will be prepared.
        batch: How many of them will go together.

    Returns:
        The copy, to be called by ``net.call``: what is listened to is within 1e-4 of each map's largest value of what
        the network gives. The network's own module where nothing can be gained, or where anything is in doubt.
    """
    if not _runs_as_built(net.module):
        return net.module
    try:
        with torch.no_grad(), _undisturbed(net.device):
            several = min(batch, 2)  # two lie in memory as many do
            module = _folded(net, plan, _noise(preparation).repeat(several, 1, 1, 1).to(net.device))
    except Exception:  # whatever a network cannot do as a copy, under watch, folded or in another layout of memory
        module = None
    return net.module if module is None else module


def _folded(net: Network, plan: Plan, x: Tensor) -> nn.Module | None:
    """Fold what can be in a copy that has not run yet, for a forward may remember things; others run in its stead."""
    found = named_layers(net.module)
    wanted = {found[name.removesuffix(INPUT)] for name in plan.layers}
    convs = [name for name, part in found.items() if _is_conv(part) and part not in wanted]
    norms = [name for name, part in found.items() if _is_norm(part) and part not in wanted]
    if not convs or not norms:
        return None
    trial = _Trial(net, plan, x)
    followed = _copied(net.module)
    with follow(x, followed, convs, norms) as flow:
        before = trial.maps(followed, flow.see)
    pairs = flow.pairs()
    if not pairs:
        return None
    on_cpu = net.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    for channels_last in (True, False) if on_cpu else (False,):
        module = _copied(net.module)
        _fold(module, pairs, channels_last=channels_last)
        with suppress(RuntimeError):  # `view` cannot merge channels and places that lie channels-last
            if _alike(before, trial.maps(_copied(module))):
                return module
    return None


def _runs_as_built(module: nn.Module) -> bool:
    """Tell whether a copy would run as the module does: in evaluation mode, with nothing attached from outside."""
    return unwrapped(module) is module and not any(
        part.training or part._forward_hooks or part._forward_pre_hooks or part._compiled_call_impl is not None
        for part in module.modules()
    )


def _copied(module: nn.Module) -> nn.Module:
    """Copy a network with the very same parameters; buffers, which a forward may write to, are its own."""
    shared: dict[int, Any] = {id(parameter): parameter for parameter in module.parameters()}
    return copy.deepcopy(module, shared | {id(buffer): buffer.clone() for buffer in module.buffers()})


def _is_conv(part: Any) -> bool:
    return type(part) in CONVS and _is_plain(part) and (part.groups == 1 or not part.transposed)


def _is_norm(part: Any) -> bool:
    return type(part) in NORMS and _is_plain(part) and bool(part.track_running_stats)


def _is_plain(part: nn.Module) -> bool:
    """Tell whether a module of PyTorch's is as PyTorch made it, with ordinary numbers as its parameters."""
    tensors = [tensor for tensor in (*part._parameters.values(), *part._buffers.values()) if tensor is not None]
    return not any(callable(value) for value in vars(part).values()) and all(
        type(tensor) in (nn.Parameter, Tensor) and tensor.dtype in (torch.float32, torch.float64, torch.int64)
        for tensor in tensors
    )


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Leave the random numbers as they are, and nothing said."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _noise(preparation: Preparation) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (*preparation.size_hw, 3), dtype=np.uint8)
    return prepare(Frame(name="noise", pixels=pixels), preparation)[0]


def _fold(module: nn.Module, pairs: Mapping[str, str], *, channels_last: bool) -> None:
    """Let convolutions do what the batch norms behind them did.

    Args:
        module: The network that they are parts of.
        pairs: Names of convolutions to those of batch norms.
        channels_last: Let 2-D convolutions work on all channels of a cell at once; what they give is laid out in
            memory as their weights are.
    """
    found = named_layers(module)
    instead: dict[nn.Module, nn.Module] = {}
    for conv, norm in pairs.items():
        _fold_into(found[conv], found[norm], channels_last=channels_last)
        instead[found[norm]] = nn.Identity().eval()
    for part in list(module.modules()):
        if channels_last and isinstance(part, nn.Conv2d) and _is_conv(part):
            weight = part.weight.contiguous(memory_format=torch.channels_last)
            part.weight = nn.Parameter(weight, requires_grad=False)
        for name, child in part._modules.items():
            if child in instead:
                part._modules[name] = instead[child]


def _fold_into(conv: Any, norm: Any, *, channels_last: bool) -> None:
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = (-norm.running_mean if conv.bias is None else conv.bias - norm.running_mean) * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    layout = torch.channels_last if channels_last and isinstance(conv, nn.Conv2d) else torch.preserve_format
    weight = torch.empty_like(conv.weight, memory_format=layout)
    by_channel = (1, -1) if conv.transposed else (-1, 1)
    # Written where it stays: weights in between would leave holes in memory, half as large as all weights together.
    torch.mul(conv.weight, scale.reshape(*by_channel, *(1 for _ in conv.kernel_size)), out=weight)
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What is compared: a network, or a copy of it, runs on an input, and what is listened to is looked at.

    Attributes:
        net: The network.
        plan: What is listened to.
        x: The input.
    """

    net: Network
    plan: Plan
    x: Tensor

    def maps(self, module: nn.Module, see: Callable[[Any], None] = lambda _value: None) -> Maps:
        """Run, and keep some values of everything.

        Args:
            module: What runs.
            see: Told of everything that is looked at, and of what comes out.
        """
        taken: Maps = {}

        def look(name: str, ordinal: int, value: Any) -> None:
            if self.plan.wants(name, ordinal):
                see(value)
                for path, tensor in tensors_in(name, value):
                    taken[path, ordinal] = _some_of(tensor)

        with ExitStack() as stack:
            stack.enter_context(watch(module, self.plan.layers, look))
            if self.plan.hears_operations:
                stack.enter_context(watch_operations(module, look))
            see(self.net.call(module, self.x.clone()))
        return taken


def _some_of(tensor: Tensor) -> Tensor:
    return tensor.take(torch.arange(0, tensor.numel(), max(1, tensor.numel() // SAMPLES), device=tensor.device)).float()


def _alike(before: Maps, after: Maps) -> bool:
    return before.keys() == after.keys() and all(_close(one, after[key]) for key, one in before.items())


def _close(one: Tensor, other: Tensor) -> bool:
    if not one.numel() or len(one) != len(other):
        return len(one) == len(other)
    return bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
