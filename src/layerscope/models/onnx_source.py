"""``FILE.onnx``: any ONNX network of one picture, run by onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from layerscope.errors import OptionError, SourceError
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.network import Network
from layerscope.models.onnx_module import OnnxModule
from layerscope.models.weights import WeightsReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layerscope.models.request import Request

__all__ = ["load_onnx"]

SIZE_HW = (224, 224)
"""Where the file leaves it open."""

TYPES = {1: torch.float32, 2: torch.uint8, 10: torch.float16}
"""Numbers of ``onnx.TensorProto.DataType`` that a picture may come in."""


def load_onnx(request: Request) -> Network:
    """Load ``FILE.onnx``.

    Its input may be (N, C, H, W) or (N, H, W, C), of one or three channels, float32, float16 or uint8; a size or batch
    that the file leaves open is open here.

    Raises:
        SourceError: There is no such file, it is no ONNX, or its input is no picture.
    """
    path = request.own_file()
    model = _read(path)
    entry = _entry(model, path)
    module = OnnxModule(model, path)
    height, width = entry.size
    size_hw = request.size or (height or SIZE_HW[0], width or SIZE_HW[1])
    versions = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    return Network(
        source=request.source,
        module=module.eval(),
        preparation=Preparation(size_hw=size_hw, range="0-255" if entry.type == torch.uint8 else "0-1"),
        weights=WeightsReport(path=path, naming=f"ONNX, opset {max(versions, default=0)}", taken=0, total=0),
        check_size=_size_check(path, entry.size),
        call=entry,
    )


class Entry:
    """How a graph takes a picture: its type, and where its axes are.

    Attributes:
        type: Of its numbers.
        batch: How many pictures it takes at once; None: any.
        channels: One or three.
        last: Whether channels come last.
        size: Height and width, each None where it is open.
    """

    def __init__(self, kind: torch.dtype, dims: list[int | None]) -> None:
        self.type, self.batch = kind, dims[0]
        self.last = dims[1] not in (1, 3) and dims[3] in (1, 3)
        self.channels = (dims[3] if self.last else dims[1]) or 3
        self.size = (dims[1], dims[2]) if self.last else (dims[2], dims[3])

    def __call__(self, module: nn.Module, x: Tensor) -> Any:
        """Call the module with pictures as it takes them."""
        x = x.mean(1, keepdim=True) if self.channels == 1 else x
        x = x.permute(0, 2, 3, 1) if self.last else x
        x = x.to(self.type).contiguous()
        if self.batch is None or len(x) == self.batch:
            return module(x)
        raise OptionError(f"batch: the file takes {self.batch} pictures at once, not {len(x)}; say batch={self.batch}")


def _read(path: Path) -> Any:
    onnx = require("onnx", "onnx")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # of its own, of protobuf, of the file system
        raise SourceError(f"{path}: is no ONNX file ({' '.join(str(error).split())[:120]})") from None
    if not model.graph.node or not model.graph.output:
        raise SourceError(f"{path}: is no ONNX file, or holds no network")
    return model


def _entry(model: Any, path: Path) -> Entry:
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise SourceError(f"{path}: expected one input, a picture; it has {names}")
    tensor = inputs[0].type.tensor_type
    dims = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if tensor.elem_type not in TYPES or len(dims) != 4:
        raise SourceError(
            f"{path}: its input {inputs[0].name} is no picture: expected float32, float16 or uint8 and four axes, got "
            f"type {tensor.elem_type} and {len(dims)} axes"
        )
    entry = Entry(TYPES[tensor.elem_type], dims)
    if entry.channels not in (1, 3):
        raise SourceError(f"{path}: its input has {entry.channels} channels; expected one or three")
    return entry


def _size_check(path: Path, fixed: tuple[int | None, int | None]) -> Callable[[tuple[int, int]], None]:
    def check(size_hw: tuple[int, int]) -> None:
        if any(side not in (None, wanted) for side, wanted in zip(fixed, size_hw, strict=True)):
            takes = "x".join("any" if side is None else str(side) for side in fixed)
            raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: {path.name} takes {takes} only")

    return check
