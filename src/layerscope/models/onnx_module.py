"""An ONNX session as a module: every value of its graph is a module that is called with it."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from layerscope.errors import SourceError
from layerscope.extras import require
from layerscope.models.onnx_names import name_values
from layerscope.models.stand_in import stand_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["OnnxModule"]

SESSIONS_KEPT = 4
EXTERNAL = "session.model_external_initializers_file_folder_path"
FATAL = 4
"""The only messages that onnxruntime may print: what goes wrong is raised as well."""

KINDS = ("float16", "float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
NUMBERS = frozenset(f"tensor({kind})" for kind in KINDS)
"""Types of values that can be handed out; others, such as bfloat16 and sequences, cannot."""


class OnnxModule(nn.Module):
    """Runs an ONNX graph, asking for those intermediate values only that somebody listens to.

    Hooks on its parts are called in the order in which the graph computes their values, so everything that works with
    a network of PyTorch works with it.

    Args:
        model: An ``onnx.ModelProto``.
        path: Its file, beside which weights may be kept.
    """

    def __init__(self, model: Any, path: Path) -> None:
        super().__init__()
        self.model, self.path, self.device = model, path, "cpu"
        stored = {tensor.name for tensor in model.graph.initializer}
        (self.entry,) = [value.name for value in model.graph.input if value.name not in stored]
        self.outputs = [value.name for value in model.graph.output]
        self.paths = name_values(model.graph)
        self.sessions: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        kinds = {value: node.op_type for node in model.graph.node for value in node.output}
        placed = {path: kinds[value] for value, paths in self.paths.items() for path in paths}
        ordered = sorted(placed, key=lambda path: path.count("."))  # what is around comes first
        self.parts = {path: self._place(path, placed[path]) for path in ordered}

    def _place(self, path: str, kind: str) -> nn.Module:
        """Put a stand-in at a path.

        It goes past ``add_module``, which refuses names such as ``type`` and ``model`` that modules have as well.
        """
        parent: nn.Module = self
        *over, last = path.split(".")
        for name in over:
            if (inner := parent._modules.get(name)) is None:
                inner = parent._modules[name] = nn.ModuleDict()  # without a value of its own
            parent = inner
        part = parent._modules[last] = stand_in(kind)
        return part

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Run the graph.

        Args:
            x: As the graph takes it: its type, layout and batch.

        Returns:
            Its output, or several by their names.

        Raises:
            SourceError: onnxruntime cannot run it, or not on an input of this size.
        """
        wanted = [value for value, paths in self.paths.items() if any(map(self._is_heard, paths))]
        given = self._run(self._session(wanted), x)
        for value in wanted:
            for path in self.paths[value] if value in given else ():
                if self._is_heard(path):
                    self.parts[path](given[value])
        outputs = {name: given[name] for name in self.outputs if name in given}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _is_heard(self, path: str) -> bool:
        part = self.parts[path]
        return bool(part._forward_hooks or part._forward_pre_hooks)

    def _run(self, session: Any, x: Tensor) -> dict[str, Tensor]:
        names = [value.name for value in session.get_outputs() if value.type in NUMBERS]
        try:
            results = session.run(names, {self.entry: x.detach().cpu().numpy()})
        except Exception as error:  # its errors share no base
            shape = "x".join(map(str, x.shape))
            raise SourceError(
                f"{self.path}: onnxruntime cannot run it on {shape}; another size may do ({_line(error)})"
            ) from None
        return {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in zip(names, results, strict=True)}

    def _session(self, wanted: Sequence[str]) -> Any:
        """Make a session that gives these values too, or take one that was made."""
        key = self.device, *(value for value in wanted if value not in self.outputs)
        if key not in self.sessions:
            self.sessions[key] = self._start(key[1:])
            if len(self.sessions) > SESSIONS_KEPT:
                self.sessions.popitem(last=False)
        self.sessions.move_to_end(key)
        return self.sessions[key]

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
        own = len(outputs)
        outputs.extend(onnx.ValueInfoProto(name=name) for name in more)
        try:
            return runtime.InferenceSession(self.model.SerializeToString(), options, providers=providers)
        except Exception as error:  # as above
            raise SourceError(f"{self.path}: onnxruntime cannot run it ({_line(error)})") from None
        finally:
            del outputs[own:]

    def to(self, *args: Any, **kwargs: Any) -> OnnxModule:
        """Run on that device from now on, if onnxruntime can; values are given on the CPU."""
        device = kwargs.get("device", args[0] if args else None)
        if isinstance(device, str | torch.device):
            self.device = torch.device(device).type
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        """Refuse: a session holds what cannot be copied."""
        raise TypeError("an ONNX session cannot be copied")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
