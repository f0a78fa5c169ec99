"""``FILE.pt``, ``FILE.pth``, ``FILE.pkl``: told apart by what they hold, for the ending says nothing."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from layerscope.errors import SourceError, UnsafeWeightsError
from layerscope.inputs import Preparation
from layerscope.models.checkpoints import find_state, kind_of, read_torch
from layerscope.models.network import Network
from layerscope.models.scripted import load_scripted

if TYPE_CHECKING:
    from layerscope.models.request import Request

__all__ = ["load_pickled"]

SIZE_HW = (224, 224)


def load_pickled(request: Request) -> Network:
    """Load a whole module that ``torch.save`` wrote, if it is trusted; or TorchScript.

    Raises:
        SourceError: There is no such file, or it holds no module.
        UnsafeWeightsError: It is a pickled module, which runs code, and is not trusted.
    """
    path = Path(request.argument)
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    if _is_script(path):
        return load_scripted(request)
    request.refuse_weights()
    request.refuse_arguments()
    module = _module(_unpickle(path, request), path)
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=request.size or SIZE_HW),
        weights=request.fill(module, own=f"{path.name}, with the module"),
    )


def _is_script(path: Path) -> bool:
    """Tell TorchScript, which has code and constants beside its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        return any(name.endswith("/constants.pkl") for name in file.namelist())


def _unpickle(path: Path, request: Request) -> Any:
    with path.open("rb") as stream:
        kind = kind_of(stream.read(64))
    if kind not in ("torch", "pickle"):
        raise SourceError(f"{path}: is no PyTorch file; a Darknet network is darknet:FILE.cfg with -w {path.name}")
    try:
        return read_torch(path, trust_pickle=request.weights.trust_pickle)
    except UnsafeWeightsError:
        raise UnsafeWeightsError(
            f"{path}: is a pickled module, which runs code when it is loaded; say --trust-pickle (trust_pickle=True) "
            "if you trust whoever made it, or export it (FILE.pt2, FILE.onnx)"
        ) from None


def _module(loaded: Any, path: Path) -> nn.Module:
    if isinstance(loaded, nn.Module):
        return loaded.float()
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), nn.Module):
        module: nn.Module = loaded["model"]
        return module.float()
    if find_state(loaded) is not None:
        raise SourceError(
            f"{path}: holds weights and no network; name the network and give them by -w, "
            f"as in net.py:Net -w {path.name}"
        )
    raise SourceError(f"{path}: holds a {type(loaded).__name__}, no network")
