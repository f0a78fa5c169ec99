"""One picture through a network, and what its layers gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from layerscope.errors import LayerError, SourceError
from layerscope.hooks.feature_map import FeatureMap
from layerscope.hooks.select import Selection, select
from layerscope.hooks.tape import Tape, catch, warn_silent, why_silent
from layerscope.inputs import open_frame
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from layerscope.hooks.select import Plan
    from layerscope.inputs import InputSource, PreparationOptions

__all__ = ["capture", "item_of_batch", "report_silent"]


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
    report_silent(tape.silent, plan, net, calls)
    return {
        name: FeatureMap(layer=name, values=item_of_batch(values), frame=frame, placement=placement)
        for name, values in tape.items()
    }


def item_of_batch(values: Tensor) -> Tensor:
    """Drop the batch axis of one picture's output; keep shapes that have none."""
    return values[0] if values.ndim > 1 and values.shape[0] == 1 else values


def report_silent(silent: tuple[str, ...], plan: Plan, net: Network, calls: Mapping[str, int]) -> None:
    """Refuse where a layer that was asked for by name gave nothing; warn of those that a pattern selected."""
    asked = [layer for layer in silent if layer in plan.asked]
    if asked:
        raise LayerError("; ".join(why_silent(layer, net.module, calls[layer]) for layer in asked))
    warn_silent(silent, net.module, calls)
