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


class OnnxModule(nn.Module):
    """Runs an ONNX graph, asking for those intermediate values only that somebody listens to.

    Hooks on its parts are called in the order in which the graph computes their values, so everything that works with
    a network of PyTorch works with it.

    Args:
        model: An ``onnx.ModelProto``.
        folder: Where its file lies, for weights that are kept beside it.
    """

    def __init__(self, model: Any, folder: Path) -> None:
        super().__init__()
        self.model, self.folder = model, folder
        stored = {tensor.name for tensor in model.graph.initializer}
        (self.entry,) = [value for value in model.graph.input if value.name not in stored]
        self.outputs = [value.name for value in model.graph.output]
        self.paths = name_values(model.graph)
        self.operations = {value: node.op_type for node in model.graph.node for value in node.output}
        self.sessions: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        placed = {path: self.operations[value] for value, paths in self.paths.items() for path in paths}
        for path in sorted(placed, key=lambda path: path.count(".")):  # what is around comes first
            self._place(path, placed[path])
        self._parts = {path: self.get_submodule(path) for paths in self.paths.values() for path in paths}

    def _place(self, path: str, kind: str) -> None:
        parent: nn.Module = self
        *around, last = path.split(".")
        for part in around:
            if part not in parent._modules:
                parent.add_module(part, nn.ModuleDict())  # it has no value of its own
            parent = parent.get_submodule(part)
        if last not in parent._modules:
            parent.add_module(last, stand_in(kind))

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Run the graph.

        Args:
            x: As the graph takes it: its type, layout and batch.

        Returns:
            Its output, or several by their names.
        """
        wanted = [value for value, paths in self.paths.items() if any(map(self._is_heard, paths))]
        names = list(dict.fromkeys([*wanted, *self.outputs]))
        results = self._session(wanted).run(names, {self.entry.name: x.detach().cpu().numpy()})
        given = {
            name: torch.from_numpy(np.ascontiguousarray(value))
            for name, value in zip(names, results, strict=True)
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
        }
        for value in wanted:
            for path in self.paths[value] if value in given else ():
                if self._is_heard(path):
                    self._parts[path](given[value])
        outputs = {name: given[name] for name in self.outputs if name in given}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _is_heard(self, path: str) -> bool:
        part = self._parts[path]
        return bool(part._forward_hooks or part._forward_pre_hooks)

    def _session(self, wanted: Sequence[str]) -> Any:
        """Make a session that gives these values too, or take one that was made."""
        key = tuple(value for value in wanted if value not in self.outputs)
        if key not in self.sessions:
            self.sessions[key] = self._start(key)
            if len(self.sessions) > SESSIONS_KEPT:
                self.sessions.popitem(last=False)
        self.sessions.move_to_end(key)
        return self.sessions[key]

    def _start(self, more: Sequence[str]) -> Any:
        onnx, runtime = require("onnx", "onnx"), require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry(EXTERNAL, str(self.folder.resolve()))
        wished = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wished if name in runtime.get_available_providers()]
        outputs = self.model.graph.output
        own = len(outputs)
        outputs.extend(onnx.ValueInfoProto(name=name) for name in more)
        try:
            return runtime.InferenceSession(self.model.SerializeToString(), options, providers=providers)
        except Exception as error:  # its errors share no base
            raise SourceError(f"onnxruntime cannot run this file ({' '.join(str(error).split())[:200]})") from None
        finally:
            del outputs[own:]

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        """Refuse: a session holds what cannot be copied."""
        raise TypeError("an ONNX session cannot be copied")
