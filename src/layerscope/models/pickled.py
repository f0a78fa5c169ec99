"""``FILE.pt``, ``FILE.pth``, ``FILE.pkl``: told apart by what they hold, for the ending says nothing."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from layerscope.errors import SourceError, UnsafeWeightsError
from layerscope.inputs import Preparation
from layerscope.models.checkpoints import WRAPPERS, find_state, fit, kind_of, read_torch
from layerscope.models.exported import is_exported, load_exported
from layerscope.models.network import Network
from layerscope.models.scripted import load_scripted
from layerscope.models.yolov3 import Darknet53Classifier, YOLOv3

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from layerscope.models.request import Request

__all__ = ["load_pickled"]

SIZE_HW = (224, 224)


def load_pickled(request: Request) -> Network:
    """Load a whole module that ``torch.save`` wrote, if it is trusted; or TorchScript, or an exported program.

    Raises:
        SourceError: There is no such file, or it holds no module.
        UnsafeWeightsError: It is a pickled module, which runs code, and is not trusted.
    """
    path = request.own_file()
    if _is_script(path):
        return load_scripted(request)
    if is_exported(path):
        return load_exported(request)
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
            "if you trust whoever made it, or export it as FILE.onnx"
        ) from None


def _module(loaded: Any, path: Path) -> nn.Module:
    module = _find_module(loaded)
    if module is not None:
        return module.float()
    state = find_state(loaded)
    if state is None:
        raise SourceError(f"{path}: holds a {type(loaded).__name__}, no network")
    known = _whose(state)
    name, why = (known[0], f" (its names are {known[1]})") if known else ("net.py:Net", "")
    raise SourceError(
        f"{path}: holds weights and no network; name the network and give them by -w, as in {name} -w {path.name}{why}"
    )


def _find_module(loaded: Any) -> nn.Module | None:
    """Look for the module in what was unpickled: bare, or under a key that training scripts put it under."""
    if isinstance(loaded, nn.Module):
        return loaded
    if not isinstance(loaded, dict):
        return None
    found = (_find_module(loaded[key]) for key in WRAPPERS if key in loaded)
    return next((module for module in found if module is not None), None)


def _whose(state: dict[str, Tensor]) -> tuple[str, str] | None:
    """Recognise weights of our own networks: return the source, and whose naming they have."""
    with torch.device("meta"):
        networks: dict[str, YOLOv3 | Darknet53Classifier] = {"yolov3": YOLOv3(), "darknet53": Darknet53Classifier()}
    shares = {}
    for source, module in networks.items():
        own = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        fitted = fit(state, own, module.slots)
        shares[source] = 1 - (len(fitted.missing) + len(fitted.misshapen)) / len(own), fitted.match.name
    source = max(shares, key=lambda source: shares[source][0])
    share, naming = shares[source]
    return (source, naming) if share > 0.5 else None
