"""Capture alone: what it adds to the bare forward of YOLOv3 at 416 x 416, and what other libraries need for the same.

Every way runs the same module on the same tensor without gradients. What the others capture is held against ours
before anything is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import layerscope as ls
from layerscope.models.operations import watch_operations
from rounds import ratios, take_turns, timed
from table import Goal, Table, compare
from tiles import PICTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench import Options

    Way = Callable[[], Any]

__all__ = ["measure", "measure_rivals"]

BARE = "the bare forward"
SHORT = 3
"""How many rounds of these short ways make one of the others'."""


def measure(options: Options) -> Table:
    """What capture adds, each promise by itself."""
    net = ls.load("yolov3", device="cpu")
    module, x = net.module, net.prepare(PICTURE)[0]

    def watched() -> None:
        with torch.no_grad(), watch_operations(module, lambda *_: None):
            module(x)

    promised: dict[str, tuple[Way, float]] = {
        "five stages": (tapped(module, x, list(net.stages)), 1.02),
        "all 75 convolutions": (tapped(module, x, "convs"), 1.10),
        "every operation, watched but not kept": (watched, 1.05),
    }
    ways = {BARE: bare(module, x)} | {name: way for name, (way, _) in promised.items()}
    ways["every module and operation, kept"] = tapped(module, x, "all")
    rounds = SHORT * options.rounds
    seconds = take_turns({name: timed(way) for name, way in ways.items()}, rounds)
    return Table(
        columns=["captured of YOLOv3 by `ls.tap`", "seconds", "of the bare forward"],
        lines=compare(seconds, [BARE], digits=3),
        rounds=rounds,
        goals=[
            Goal(
                work=f"capture alone: {name}",
                against=BARE,
                measured=ratios(seconds[name], seconds[BARE]),
                bound=bound,
            )
            for name, (_, bound) in promised.items()
        ],
    )


def measure_rivals(options: Options) -> Table:
    """Capture the five stages by each library."""
    net = ls.load("yolov3", device="cpu")
    module, x = net.module, net.prepare(PICTURE)[0]
    stages = list(net.stages)
    ours = {name: feature_map.values for name, feature_map in ls.capture(net, PICTURE).items()}
    ways: dict[str, Way] = {
        BARE: bare(module, x),
        "Layerscope, `ls.tap`": tapped(module, x, stages),
        "Layerscope, `ls.capture`: picture read, forward ends after stage 5": lambda: ls.capture(net, PICTURE),
    }
    notes = []
    for name, make in RIVALS.items():
        try:
            way = make(module, x, stages)
            _hold_against(ours, way())
        except Exception as error:  # whatever keeps one library from it, the table is to say it
            notes.append(f"Not measured: {name} ({type(error).__name__}: {error}).")
        else:
            ways[name] = way
    seconds = take_turns({name: timed(way) for name, way in ways.items()}, options.rounds)
    return Table(
        columns=["five stages of YOLOv3 captured", "seconds", "of the bare forward"],
        lines=compare(seconds, [BARE], digits=3),
        rounds=options.rounds,
        notes=notes,
    )


def bare(module: nn.Module, x: Tensor) -> Way:
    """Make the way that captures nothing."""

    def run() -> None:
        with torch.no_grad():
            module(x)

    return run


def tapped(module: nn.Module, x: Tensor, layers: str | list[str]) -> Way:
    """Make the way of ``ls.tap``."""

    def run() -> Mapping[str, Tensor]:
        with torch.no_grad(), ls.tap(module, layers) as tape:
            module(x)
        return tape

    return run


def _torchextractor(module: nn.Module, x: Tensor, stages: Sequence[str]) -> Way:
    import torchextractor

    extractor = torchextractor.Extractor(module, stages)

    def run() -> Any:
        with torch.no_grad():
            return extractor(x)[1]

    return run


def _captum(module: nn.Module, x: Tensor, stages: Sequence[str]) -> Way:
    from captum.attr import LayerActivation

    activation = LayerActivation(module, [module.get_submodule(stage) for stage in stages])

    def run() -> dict[str, Any]:
        with torch.no_grad():
            return dict(zip(stages, activation.attribute(x), strict=True))

    return run


def _torchvision(module: nn.Module, x: Tensor, stages: Sequence[str]) -> Way:
    from torchvision.models.feature_extraction import create_feature_extractor

    extractor = create_feature_extractor(module, list(stages))

    def run() -> Any:
        with torch.no_grad():
            return extractor(x)

    return run


def _torchlens(module: nn.Module, x: Tensor, stages: Sequence[str]) -> Way:
    import torchlens

    # Without unwrapping, what it puts around PyTorch's functions would slow the turns of all others.
    choice = torchlens.options.CaptureOptions(layers_to_save=list(stages), unwrap_when_done=True)

    def run() -> dict[str, Any]:
        with torch.no_grad():
            trace = torchlens.trace(module, x, capture=choice)
        return {stage: trace[stage].out for stage in stages}

    return run


RIVALS: Mapping[str, Callable[[nn.Module, Tensor, Sequence[str]], Way]] = {
    "torchextractor": _torchextractor,
    "Captum, `LayerActivation`": _captum,
    "torchvision, `create_feature_extractor`: a module of its own that ends after stage 5": _torchvision,
    "TorchLens, `trace` that saves these five": _torchlens,
}


def _hold_against(ours: Mapping[str, Tensor], theirs: Mapping[str, Any]) -> None:
    """Refuse to compare with something that does another work."""
    for stage, values in ours.items():
        other = theirs[stage]
        other = other[0] if isinstance(other, tuple) else other
        error = (values - other[0]).abs().max() / values.abs().max()
        if not error < 1e-4:
            raise RuntimeError(f"its {stage} differs by {error:.1e} of the largest value")
