"""One picture through a network, and what its layers gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from layerscope.errors import InputError, LayerError, OptionError, SourceError
from layerscope.hooks.feature_map import FeatureMap
from layerscope.hooks.select import Selection, select
from layerscope.hooks.tape import Tape, catch, warn_silent, why_silent
from layerscope.inputs import Frame, Placement, open_frame
from layerscope.models.network import Network
from layerscope.models.survey import tensors_in
from layerscope.models.wrapped import unwrapped
from layerscope.render import to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Unpack

    from layerscope.hooks.select import Plan
    from layerscope.inputs import InputSource, PreparationOptions

__all__ = [
    "asks_for_stages",
    "call_with",
    "capture",
    "counts_items",
    "enough",
    "frame_of",
    "items_of_batch",
    "report_silent",
]


def capture(
    net: Network | nn.Module,
    picture: InputSource | None = None,
    *,
    inputs: Any = None,
    layers: Selection | None = None,
    **preparation: Unpack[PreparationOptions],
) -> dict[str, FeatureMap]:
    """Run one picture through a network and return what some of its layers gave.

    The forward ends as soon as the last of them has run, where it is known how often they run: for a network from
    ``load`` whose shapes tell, and for calls that are named (``act:0``).

    Args:
        net: From ``load``; or any module, in any mode: it runs in evaluation mode and is afterwards in its own.
        picture: A path, an (H, W, 3) uint8 RGB array, a PIL image or a Frame. A module of your own has no way to
            prepare one: give it ``inputs``.
        inputs: What the module is called with, instead of a picture: a tensor, a tuple of arguments, or a dict of
            keyword arguments.
        layers: Which: ``stages`` (the default for a network), ``modules`` (the default for a module), ``convs``,
            ``operations``, ``all``, names, globs, class names, a callable, or several of these.
        **preparation: Replace parts of how the network prepares a picture.

    Returns:
        Layer names to feature maps, in the order in which the layers ran; a layer that ran more than once is
        there as ``name:0``, ``name:1``, ... A batch of one is taken off; several stay as they are.

    Raises:
        UnknownLayerError: A layer is not in the network; the network is not run.
        LayerError: A layer that was asked for by name did not run.
        InputError: The picture cannot be read, or there is none.

    >>> import torch
    >>> maps = capture(torch.nn.Conv2d(3, 8, 3), inputs=torch.ones(1, 3, 5, 5), layers="conv2d")
    Traceback (most recent call last):
    ...
    layerscope.errors.LayerError: conv2d never ran: the network itself does not call conv2d, it calls no operation \
of its own
    """
    if isinstance(net, Network):
        if inputs is not None:
            raise OptionError("inputs: a network from load takes a picture; for inputs of your own give its .module")
        if picture is None:
            raise InputError("picture: expected a path, an array or an image, got none")
        frame = open_frame(picture)
        plan = select(layers or "stages", net.module, stages=net.stages if asks_for_stages(layers) else ())
        x, placement = net.prepare(frame, **preparation)
        until = enough(plan, net.calls(placement.input_hw, operations=bool(plan.operations)))
        tape = _record(net.module, plan, lambda: net.forward(x), until)
        return _maps(tape, frame, placement)
    if not isinstance(net, nn.Module):
        raise SourceError(f"capture takes a network from layerscope.load or a module, got {type(net).__name__}")
    if picture is not None or preparation or inputs is None:
        raise InputError(
            "a module of your own cannot prepare a picture; give inputs=, what its forward takes, such as a tensor "
            "(1, 3, H, W)"
        )
    module = unwrapped(net)
    plan = select(layers or "modules", module)
    tape = _record(module, plan, lambda: call_with(module, inputs), enough(plan, None), evaluate=True)
    return _maps(tape, *frame_of_input(_first_tensor(inputs)))


def asks_for_stages(layers: Selection | None) -> bool:
    """Tell whether stages may be meant: finding them can take a run of its own."""
    if layers is None or layers == "stages":
        return True
    return not (isinstance(layers, str) or callable(layers)) and any(map(asks_for_stages, layers))


def _record(
    module: nn.Module,
    plan: Plan,
    forward: Callable[[], Any],
    until: Mapping[str, int] | None,
    *,
    evaluate: bool = False,
) -> Tape:
    """Run a forward and keep what the plan wants of it."""
    tape = Tape(plan, module)
    with torch.no_grad(), catch(module, plan, tape.take, until=until) as calls:
        tape.calls = calls
        for part in module.modules() if evaluate else ():
            part.training = False  # flag by flag: `eval` is a method that modules override; catch puts them back
        forward()
    report_silent(tape.silent, plan, module, calls)
    return tape


def call_with(module: nn.Module, inputs: Any) -> Any:
    """Call a module with a tensor, a tuple of arguments, or a dict of keyword arguments."""
    if isinstance(inputs, Tensor):
        return module(inputs)
    if isinstance(inputs, tuple | list):
        return module(*inputs)
    if hasattr(inputs, "keys"):
        return module(**inputs)
    raise InputError(f"inputs: expected a tensor, a tuple of arguments or a dict of them, got {type(inputs).__name__}")


def enough(plan: Plan, calls: Mapping[str, int] | None) -> dict[str, int] | None:
    """Say after how many calls of each layer nothing wanted can come any more; None where that is not known."""
    if plan.patterns:
        return None
    until = {}
    for name, wanted in (*plan.layers.items(), *plan.operations.items()):
        if wanted is not None:
            until[name] = max(wanted) + 1
        elif calls is not None and calls.get(name):
            until[name] = calls[name]
        else:
            return None
    return until


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
            "batch=1 runs them one by one"
        )
    return list(values)


def counts_items(values: Tensor, count: int) -> bool:
    """Tell whether a layer's output for one frame has a first axis that is neither its batch's nor its channels'."""
    return count == 1 and values.ndim == 4 and values.shape[0] != 1


def frame_of_input(x: Tensor | None) -> tuple[Frame | None, Placement | None]:
    """Make a picture of the numbers that a module takes, (1, C, H, W); none of anything else."""
    if x is None or x.ndim != 4 or len(x) != 1 or 0 in x.shape:
        return None, None
    return frame_of(x[0], "input")


def frame_of(values: Tensor, name: str) -> tuple[Frame, Placement]:
    """Make a picture of (C, H, W) numbers: from the smallest, black, to the largest; grey unless there are three."""
    size_hw = (int(values.shape[1]), int(values.shape[2]))
    shown = values.detach() if len(values) == 3 else values.detach().float().mean(dim=0, keepdim=True).expand(3, -1, -1)
    levels = to_bytes(shown, "layer").bytes.permute(1, 2, 0).cpu().numpy()
    placement = Placement(frame_hw=size_hw, input_hw=size_hw, scale_xy=(1.0, 1.0), offset_xy=(0.0, 0.0))
    return Frame(name=name, pixels=np.ascontiguousarray(levels)), placement


def _first_tensor(inputs: Any) -> Tensor | None:
    return next((tensor for _, tensor in tensors_in("", inputs)), None)


def _maps(tape: Tape, frame: Frame | None, placement: Placement | None) -> dict[str, FeatureMap]:
    return {
        name: FeatureMap(
            layer=name,
            values=items_of_batch(values, 1, name)[0],
            frame=frame,
            placement=placement,
            counts_items=counts_items(values, 1),
        )
        for name, values in tape.items()
    }


def report_silent(silent: tuple[str, ...], plan: Plan, module: nn.Module, calls: Mapping[str, int]) -> None:
    """Refuse where a layer that was asked for by name gave nothing; warn of those that a pattern selected."""
    asked = [layer for layer in silent if layer in plan.asked]
    if asked:
        raise LayerError("; ".join(why_silent(layer, module, calls) for layer in asked))
    warn_silent(silent, module, calls)
