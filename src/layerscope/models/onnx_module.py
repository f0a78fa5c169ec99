"""An ONNX graph as a module: every value of the graph is a module that is called with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from layerscope.models.onnx_names import name_values
from layerscope.models.onnx_sessions import OnnxSessions
from layerscope.models.stand_in import place, stand_in

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["OnnxModule"]


class OnnxModule(nn.Module):
    """Runs an ONNX graph, asking for those intermediate values only that somebody listens to.

    Hooks on its parts are called in the order in which the graph computes their values, so everything that works with
    a network of PyTorch works with it.

    Args:
        model: An ``onnx.ModelProto``.
        path: Its file, beside which weights may be kept.

    Attributes:
        paths: Names of values to the paths of the parts that are called with them.
        sessions: What computes them.
        parts: The stand-ins by their paths.
    """

    paths: dict[str, list[str]]
    sessions: OnnxSessions
    parts: dict[str, nn.Module]

    def __init__(self, model: Any, path: Path) -> None:
        super().__init__()
        paths = name_values(model.graph)
        # Not by assignment, which refuses names that a part has as well.
        self.__dict__.update(paths=paths, sessions=OnnxSessions(model, path))
        kinds = {value: node.op_type for node in model.graph.node for value in node.output}
        placed = {path: kinds[value] for value, same in paths.items() for path in same}
        ordered = sorted(placed, key=lambda path: path.count("."))  # what is around comes first
        self.__dict__["parts"] = {path: place(self, path, stand_in(placed[path])) for path in ordered}

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Run the graph.

        Args:
            x: As the graph takes it: its type, layout and batch.

        Returns:
            Its output, or several by their names.

        Raises:
            SourceError: onnxruntime cannot run it, or not on an input of this size.
        """
        heard = {
            value: [part for path in paths if (part := self.parts[path])._forward_hooks or part._forward_pre_hooks]
            for value, paths in self.paths.items()
        }
        given = self.sessions.run([value for value, parts in heard.items() if parts], x)
        for value, parts in heard.items():
            for part in parts if value in given else ():
                part(given[value])
        outputs = {name: given[name] for name in self.sessions.outputs if name in given}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def to(self, *args: Any, **kwargs: Any) -> OnnxModule:
        """Run on that device from now on, if onnxruntime can; values are given on the CPU."""
        device = kwargs.get("device", args[0] if args else None)
        if isinstance(device, str | torch.device):
            self.sessions.device = torch.device(device).type
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        """Refuse: a session holds what cannot be copied."""
        raise TypeError("an ONNX session cannot be copied")
