"""One picture through a network, and what its layers gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from layerscope.errors import LayerError, SourceError
from layerscope.hooks.feature_map import FeatureMap
from layerscope.hooks.select import Selection, select
from layerscope.hooks.tape import Tape, catch, warn_silent, why_silent
from layerscope.inputs import open_frame
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from torch import Tensor, nn

    from layerscope.hooks.select import Plan
    from layerscope.inputs import InputSource, PreparationOptions

__all__ = ["capture", "items_of_batch", "report_silent"]


def capture(
    net: Network,
    picture: InputSource,
    *,
    layers: Selection = "stages",
    **preparation: Unpack[PreparationOptions],
) -> dict[str, FeatureMap]:
    """Run one picture through a network and return what some of its layers gave.

    Args:
        net: From ``load``.
        picture: A path, an (H, W, 3) uint8 RGB array, a PIL image or a Frame.
        layers: Which: ``stages``, ``convs``, ``all``, names, globs, class names, a callable, or several of
            these.
        **preparation: Replace parts of how the network prepares a picture.

    Returns:
        Layer names to feature maps, in the order in which the layers ran; a layer that ran more than once is
        there as ``name:0``, ``name:1``, ...

    Raises:
        UnknownLayerError: A layer is not in the network; the network is not run.
        LayerError: A layer that was asked for by name did not run.
        InputError: The picture cannot be read.
    """
    if not isinstance(net, Network):
        raise SourceError(
            f"capture takes a Network from layerscope.load, got {type(net).__name__}; "
            "around a module of your own use layerscope.tap"
        )
    plan = select(layers, net.module, stages=net.stages)
    frame = open_frame(picture)
    x, placement = net.prepare(frame, **preparation)
    tape = Tape(plan, net.module)
    with torch.no_grad(), catch(net.module, plan, tape.take) as calls:
        tape.calls = calls
        net.module(x)
    report_silent(tape.silent, plan, net.module, calls)
    return {
        name: FeatureMap(layer=name, values=items_of_batch(values, 1, name)[0], frame=frame, placement=placement)
        for name, values in tape.items()
    }


def items_of_batch(values: Tensor, count: int, layer: str) -> Sequence[Tensor]:
    """Take a layer's output apart into what it gave for each frame; one frame needs no batch axis.

    Raises:
        LayerError: For several frames, the first axis is not theirs.
    """
    if count == 1:
        return [values[0] if values.ndim > 1 and values.shape[0] == 1 else values]
    if values.ndim < 2 or values.shape[0] != count:
        raise LayerError(
            f"{layer} gave shape {tuple(values.shape)} for {count} frames together, one entry a frame was expected; "
            "run them one by one"
        )
    return list(values)


def report_silent(silent: tuple[str, ...], plan: Plan, module: nn.Module, calls: Mapping[str, int]) -> None:
    """Refuse where a layer that was asked for by name gave nothing; warn of those that a pattern selected."""
    asked = [layer for layer in silent if layer in plan.asked]
    if asked:
        raise LayerError("; ".join(why_silent(layer, module, calls[layer]) for layer in asked))
    warn_silent(silent, module, calls)
