"""Sessions of onnxruntime over one graph, each for the values that somebody wants of it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from layerscope.errors import SourceError
from layerscope.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["OnnxSessions"]

SESSIONS_KEPT = 4
EXTERNAL = "session.model_external_initializers_file_folder_path"
FATAL = 4
"""The only messages that onnxruntime may print: what goes wrong is raised as well."""

KINDS = ("float16", "float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
NUMBERS = frozenset(f"tensor({kind})" for kind in KINDS)
"""Types of values that can be handed out; others, such as bfloat16 and sequences, cannot."""


class OnnxSessions:
    """Runs a graph for any of its values: intermediate ones are made its outputs.

    Args:
        model: An ``onnx.ModelProto``.
        path: Its file, beside which weights may be kept.

    Attributes:
        device: What it runs on, such as ``cuda``, where onnxruntime can; the CPU else.
        outputs: The graph's own, by their names.
    """

    def __init__(self, model: Any, path: Path) -> None:
        self.model, self.path = model, path
        self.device = "cpu"
        self.outputs = [value.name for value in model.graph.output]
        stored = {tensor.name for tensor in model.graph.initializer}
        (self.entry,) = [value.name for value in model.graph.input if value.name not in stored]
        self._kept: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def run(self, wanted: Sequence[str], x: Tensor) -> dict[str, Tensor]:
        """Compute values of the graph.

        Args:
            wanted: The names of those that are wanted beside its outputs.
            x: As the graph takes it: its type, layout and batch.

        Returns:
            By name, on the CPU; what is no array of numbers that NumPy has is left out.

        Raises:
            SourceError: onnxruntime cannot run the graph, or not on an input of this shape.
        """
        session = self._session(tuple(name for name in wanted if name not in self.outputs))
        names = [value.name for value in session.get_outputs() if value.type in NUMBERS]
        try:
            results = session.run(names, {self.entry: x.detach().cpu().numpy()})
        except Exception as error:  # its errors share no base
            shape = "x".join(map(str, x.shape))
            raise SourceError(
                f"{self.path}: onnxruntime cannot run it on {shape}; another size may do ({_line(error)})"
            ) from None
        return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in zip(names, results, strict=True)}

    def _session(self, more: tuple[str, ...]) -> Any:
        """Make a session that gives these values too, or take one that was made."""
        key = (self.device, *more)
        if key not in self._kept:
            self._kept[key] = self._start(more)
            if len(self._kept) > SESSIONS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _start(self, more: Sequence[str]) -> Any:
        onnx, runtime = require("onnx", "onnx"), require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = FATAL
        # Operations are not joined: what is joined depends on who listens, and gives other roundings.
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry(EXTERNAL, str(self.path.parent.resolve()))
        wished = ("CUDAExecutionProvider",) * (self.device == "cuda") + ("CPUExecutionProvider",)
        providers = [name for name in wished if name in runtime.get_available_providers()]
        outputs = self.model.graph.output
        outputs.extend(onnx.ValueInfoProto(name=name) for name in more)
        try:
            return runtime.InferenceSession(self.model.SerializeToString(), options, providers=providers)
        except Exception as error:  # as above
            raise SourceError(f"{self.path}: onnxruntime cannot run it ({_line(error)})") from None
        finally:
            del outputs[len(self.outputs) :]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
