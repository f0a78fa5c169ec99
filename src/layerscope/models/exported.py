"""``FILE.pt2``: what ``torch.export.save`` wrote.

PyTorch unpickles and evaluates parts of such a file as it loads it, whatever they are, so it is loaded on trust only.
"""

from __future__ import annotations

import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from layerscope.errors import OptionError, SourceError, UnsafeWeightsError
from layerscope.inputs import Preparation
from layerscope.models.network import Network
from layerscope.models.weights import WeightsReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from layerscope.models.request import Request

__all__ = ["is_exported", "load_exported"]

Dim = int | None


def load_exported(request: Request) -> Network:
    """Load ``FILE.pt2``; its modules have the paths that they had when they were exported.

    Raises:
        SourceError: There is no such file, it is no exported program, or its input is no picture.
        UnsafeWeightsError: It is not trusted.
    """
    path = request.own_file()
    if not is_exported(path):
        raise SourceError(f"{path}: is no exported program, as torch.export.save writes them")
    if not request.weights.trust_pickle:
        raise UnsafeWeightsError(
            f"{path}: PyTorch runs code that an exported program brings when it loads it; say --trust-pickle "
            "(trust_pickle=True) if you trust whoever made it, or take an ONNX file"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            module = torch.export.unflatten(program)
    except Exception as error:  # whatever its parsers stumble over
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise SourceError(f"{path}: is no exported program that this PyTorch reads ({text})") from None
    batch, size = _input(program, path)
    count = len(program.state_dict)
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=request.size or (size[0] or 224, size[1] or 224)),
        weights=WeightsReport(path=path, naming="torch.export", taken=count, total=count),
        check_size=_size_check(path, size),
        call=_call(path, batch),
    )


def is_exported(path: Path) -> bool:
    """Tell an exported program by what it holds: a graph written down as JSON."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
    return any(name.endswith((".json", "/archive_format")) for name in names) and not any(
        name.endswith("/data.pkl") for name in names
    )


def _input(program: Any, path: Path) -> tuple[Dim, tuple[Dim, Dim]]:
    """Read the batch and the size that a program takes; None where it takes any."""
    names = program.graph_signature.user_inputs
    placed = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    values = [placed.get(name) for name in names]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor) or values[0].ndim != 4:
        raise SourceError(f"{path}: expected one input, a picture (N, C, H, W); it takes {', '.join(map(str, names))}")
    batch, channels, height, width = (side if isinstance(side, int) else None for side in values[0].shape)
    if channels not in (None, 3):
        raise SourceError(f"{path}: its input has {channels} channels; expected 3")
    return batch, (height, width)


def _size_check(path: Path, fixed: tuple[Dim, Dim]) -> Callable[[tuple[int, int]], None]:
    def check(size_hw: tuple[int, int]) -> None:
        if any(side not in (None, wanted) for side, wanted in zip(fixed, size_hw, strict=True)):
            takes = "x".join("any" if side is None else str(side) for side in fixed)
            raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: {path.name} was exported for {takes}")

    return check


def _call(path: Path, batch: Dim) -> Callable[[torch.nn.Module, torch.Tensor], Any]:
    def call(module: torch.nn.Module, x: torch.Tensor) -> Any:
        if batch not in (None, len(x)):
            raise OptionError(f"batch: {path.name} takes {batch} pictures at once, not {len(x)}; say batch={batch}")
        return module(x)

    return call
