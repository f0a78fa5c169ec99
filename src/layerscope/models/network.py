"""A network: a module together with how a picture is prepared for it and how its output is read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from layerscope.inputs import Placement, Preparation, open_frame, prepare, with_options
from layerscope.models.stages import find_stages
from layerscope.models.survey import Layer, called_plainly, count_calls, survey, tensors_in
from layerscope.models.watch import INPUT
from layerscope.models.wrapped import named_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Unpack

    from layerscope.inputs import InputSource, PreparationOptions
    from layerscope.models.heads import Head
    from layerscope.models.weights import WeightsReport

__all__ = ["Network"]


def _any_size(_size_hw: tuple[int, int]) -> None:
    return None


@dataclass(slots=True, kw_only=True, eq=False)
class Network:
    """What ``load`` returns.

    Attributes:
        source: The string that named it.
        module: The PyTorch module, in evaluation mode.
        preparation: How a picture becomes its input.
        known_stages: What ``stages`` are, where its source says so; None: they are found.
        runs_once: Whether none of its modules runs more than once a forward, so that nobody need try it out.
        likely_stages: What its library calls its stages, which they are if each gives a map.
        names: Class names, in the order of its outputs.
        heads: How its outputs are read as boxes; empty for a network that does not detect.
        weights: Where its weights came from.
        check_size: Raises where an input of that height and width cannot run through it.
        call: How the module is called with what ``prepare`` gives.
    """

    source: str
    module: nn.Module
    preparation: Preparation
    weights: WeightsReport
    known_stages: tuple[str, ...] | None = None
    runs_once: bool = False
    likely_stages: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    heads: tuple[Head, ...] = ()
    check_size: Callable[[tuple[int, int]], None] = _any_size
    call: Callable[[nn.Module, Tensor], Any] = called_plainly
    _surveys: dict[tuple[tuple[int, int], bool], tuple[Layer, ...]] = field(default_factory=dict, repr=False)
    _calls: dict[tuple[int, int], Mapping[str, int] | None] = field(default_factory=dict, repr=False)

    @property
    def stages(self) -> tuple[str, ...]:
        """The last layer at each size of the backbone: the default selection."""
        if self.known_stages is None:
            layers = self.layers()
            maps = {layer.name for layer in layers if layer.stride is not None}
            fit = bool(self.likely_stages) and maps.issuperset(self.likely_stages)
            self.known_stages = self.likely_stages if fit else find_stages(layers, named_layers(self.module).keys())
        return self.known_stages

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU for a network that has none."""
        tensors = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def prepared(self, **options: Unpack[PreparationOptions]) -> Preparation:
        """Return its preparation with some options replaced, checked against what it can take."""
        preparation = with_options(self.preparation, **options)
        self.check_size(preparation.size_hw)
        return preparation

    def prepare(self, picture: InputSource, **options: Unpack[PreparationOptions]) -> tuple[Tensor, Placement]:
        """Turn a picture into the network's input.

        Args:
            picture: A path, an (H, W, 3) uint8 RGB array, a PIL image or a Frame.
            **options: Replace parts of the network's own preparation.

        Returns:
            (1, 3, H, W) float32 on the network's device, and where the picture lies in it.

        Raises:
            InputError: The picture cannot be read.
            OptionError: An option is wrong, or the network cannot take this size.
        """
        x, placement = prepare(open_frame(picture), self.prepared(**options))
        return x.to(self.device), placement

    def layers(self, *, operations: bool = False, **options: Unpack[PreparationOptions]) -> tuple[Layer, ...]:
        """List its layers in the order in which they finish, with types, shapes, strides and parameters.

        Args:
            operations: List what its forward calls between the modules too.
            **options: Replace parts of the network's own preparation.
        """
        size_hw = self.prepared(**options).size_hw
        key = size_hw, operations
        if key not in self._surveys:
            x = torch.zeros(1, 3, *size_hw, device=self.device)
            self._surveys[key] = survey(self.module, x, call=self.call, operations=operations)
        return self._surveys[key]

    def calls(self, size_hw: tuple[int, int], *, operations: bool = False) -> Mapping[str, int] | None:
        """Count how often each layer runs for an input of a size; None where shapes alone do not tell.

        It is tried out, on shapes: the first time in a process that takes a second, in which PyTorch imports what it
        needs for shapes. Of a network whose modules run once that is not needed, unless for operations.

        Args:
            size_hw: Height and width of the input.
            operations: Count the operations between the modules too.
        """
        if self.runs_once and not operations:
            return {name + of: 1 for name in named_layers(self.module) for of in ("", INPUT)}
        if size_hw not in self._calls:
            self._calls[size_hw] = count_calls(self.module, torch.zeros(1, 3, *size_hw, device="meta"), call=self.call)
        return self._calls[size_hw]

    def forward(self, x: Tensor) -> Any:
        """Run it as it is, and return what it gives.

        Args:
            x: (N, 3, H, W) from ``prepare``.
        """
        return self.call(self.module, x)

    def outputs(self, x: Tensor) -> list[Tensor]:
        """Run it and return its output tensors in order; a detector's are its raw heads.

        Args:
            x: (N, 3, H, W) from ``prepare``.
        """
        with torch.no_grad():
            return [tensor for _, tensor in tensors_in("", self.forward(x))]

    def __repr__(self) -> str:
        height, width = self.preparation.size_hw
        return f"<Network {self.source}, {height}x{width}, {self.weights.summary}>"
