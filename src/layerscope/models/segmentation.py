"""``smp:NAME``: the networks of segmentation-models-pytorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerscope.errors import SourceError, nearest
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.foreign import building, multiples_of, numbered
from layerscope.models.network import Network

if TYPE_CHECKING:
    from torch import nn

    from layerscope.models.request import Request

__all__ = ["load_smp"]

SIZE_HW = (256, 256)
MULTIPLE = 32
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
"""What nearly all of its encoders are trained with; what the others are is told by files on the network only."""


def load_smp(request: Request) -> Network:
    """Load ``smp:NAME``, such as ``smp:Unet``, with ``--arg encoder_name=resnet18`` unless told otherwise.

    Keywords go to ``segmentation_models_pytorch.create_model``. Official weights are the encoder's alone: there are
    none of the rest.

    Raises:
        SourceError: There is no such network, or it cannot be built.
        DownloadError: The encoder's weights could not be fetched.
    """
    smp = require("segmentation_models_pytorch", "smp")
    arguments: dict[str, Any] = {"encoder_name": "resnet18", **request.arguments}
    arguments.setdefault("encoder_weights", "imagenet" if request.official else None)
    if request.classes is not None:
        arguments["classes"] = request.classes
    known = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if request.argument.lower() not in known:
        choices = f"there are {', '.join(known)}{nearest(request.argument.lower(), known)}"
        raise SourceError(f"segmentation-models-pytorch has no network {request.argument!r}; {choices}")
    with building(request):
        module: nn.Module = smp.create_model(request.argument, **arguments)
        values = _values(smp, arguments["encoder_name"], arguments["encoder_weights"])
    own = "encoder trained on ImageNet, the rest random" if request.official else None
    hint = "--weights official downloads the encoder's, --weights FILE loads a file of all"
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=request.size or SIZE_HW, resize="letterbox", **values),
        weights=request.fill(module, own=own, hint=hint),
        names=numbered(int(arguments.get("classes", 1))),
        check_size=multiples_of(MULTIPLE, request.argument),
    )


def _values(smp: Any, encoder: str, weights: str | None) -> dict[str, Any]:
    """Say the range, order, mean and std that an encoder expects."""
    try:
        told = smp.encoders.get_preprocessing_params(encoder, weights) if weights or encoder.startswith("tu-") else None
    except ValueError:  # nobody has trained it
        told = None
    if told is None:
        return IMAGENET
    return {
        "order": told["input_space"].lower(),
        "range": "0-255" if told["input_range"][-1] == 255 else "0-1",
        "mean": tuple(told["mean"]),
        "std": tuple(told["std"]),
    }
