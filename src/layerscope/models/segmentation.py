"""``smp:NAME``: the networks of segmentation-models-pytorch."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from layerscope.errors import OptionError, SourceError
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.network import Network

if TYPE_CHECKING:
    from torch import nn

    from layerscope.models.request import Request

__all__ = ["load_smp"]

SIZE_HW = (256, 256)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which its encoders are trained on


def load_smp(request: Request) -> Network:
    """Load ``smp:NAME``, such as ``smp:Unet``, with ``--arg encoder_name=resnet18`` unless told otherwise.

    Raises:
        SourceError: There is no such network, or it cannot be built.
    """
    smp = require("segmentation_models_pytorch", "smp")
    arguments: dict[str, Any] = {"encoder_name": "resnet18", "encoder_weights": None, **request.arguments}
    if request.official:
        arguments["encoder_weights"] = "imagenet"
    if request.classes is not None:
        arguments["classes"] = request.classes
    try:
        with request.seeded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = smp.create_model(request.argument, **arguments)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise SourceError(f"{request.source}: cannot be built ({' '.join(str(error).split())[:200]})") from error
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=request.size or SIZE_HW, resize="letterbox", pad=0, mean=MEAN, std=STD),
        weights=request.fill(module, hint="--weights FILE loads trained ones"),
        check_size=_multiple_of_32,
    )


def _multiple_of_32(size_hw: tuple[int, int]) -> None:
    if size_hw[0] % 32 or size_hw[1] % 32:
        raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: height and width must be multiples of 32")
