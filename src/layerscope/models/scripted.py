"""``FILE.torchscript`` and the like: what ``torch.jit.save`` wrote, traced or scripted."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from layerscope.errors import SourceError
from layerscope.inputs import Preparation
from layerscope.models.network import Network
from layerscope.models.script_module import ScriptModule
from layerscope.models.weights import WeightsReport

if TYPE_CHECKING:
    from layerscope.models.request import Request

__all__ = ["load_scripted"]

SIZE_HW = (224, 224)


def load_scripted(request: Request) -> Network:
    """Load a TorchScript file; it says nothing of its input, which options do.

    Operations between its modules are not heard of.

    Raises:
        SourceError: There is no such file, it is no TorchScript, or its modules are gone.
    """
    path = request.own_file()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever its parsers stumble over
        text = " ".join(str(error).split())[:160] or type(error).__name__
        raise SourceError(f"{path}: is no TorchScript that this PyTorch reads ({text})") from None
    if not any(True for _ in script.children()):
        raise SourceError(
            f"{path}: has no modules left that could be shown, as after torch.jit.freeze; save it without, "
            "or export the network (FILE.onnx)"
        )
    count = len(script.state_dict())
    return Network(
        source=request.source,
        module=ScriptModule(script.eval()).eval(),
        preparation=Preparation(size_hw=request.size or SIZE_HW),
        weights=WeightsReport(path=path, naming="TorchScript", taken=count, total=count),
    )
