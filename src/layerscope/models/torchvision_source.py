"""``torchvision:NAME``: classifiers, detectors, segmentation and video networks of torchvision."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from layerscope.errors import OptionError, SourceError, nearest
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.foreign import (
    OFFICIAL_HINT,
    any_size,
    anything_of,
    building,
    exactly,
    multiples_of,
    names_for,
)
from layerscope.models.network import Network
from layerscope.models.survey import called_plainly

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from layerscope.models.request import Request

__all__ = ["load_torchvision"]

DETECTOR_SIZE_HW = (320, 320)
SSD_SIZES_HW = {"ssd300_vgg16": (300, 300), "ssdlite320_mobilenet_v3_large": (320, 320)}
MVIT_SIZE_HW = (224, 224)
DETECTOR_PAD = 116  # the grey nearest to the mean that a detector takes off: what it pads with itself
CLIP_FRAMES = 16
"""How long a picture stands still for a network that takes videos."""

FILTERS = {"nearest": "nearest", "bilinear": "bilinear-aa", "bicubic": "bicubic-aa", "lanczos": "lanczos-aa"}

STAGES = {"inception_v3": ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")}
"""Of a network whose maps are cut at the borders, so that no stride is a whole number."""


def load_torchvision(request: Request) -> Network:
    """Load ``torchvision:NAME``.

    Preparation and class names are those of the network's default weights, which are not fetched for that. A
    detector normalises and resizes inside; it is built so that it leaves the input's size alone. For a video network
    the picture stands still, for 16 frames or ``--arg frames=N``. Other keywords go to torchvision's builder.

    Raises:
        SourceError: torchvision has no such network, or cannot build it.
        OptionError: It cannot be built for this size.
        DownloadError: Official weights could not be fetched.
    """
    models = require("torchvision", "torchvision").models
    name = request.argument
    if name not in models.list_models():
        raise SourceError(f"torchvision has no network {name!r}{nearest(name, models.list_models())}")
    kind = _kind(models, name)
    if kind == "optical_flow":
        raise SourceError(f"torchvision:{name} takes two pictures; around your own call use layerscope.tap")
    arguments = dict(request.arguments)
    clip = int(arguments.pop("frames", CLIP_FRAMES))
    default = models.get_model_weights(name).DEFAULT
    preparation = _preparation(name, default.transforms(), request.size)
    check_size = _size_check(kind, name, preparation.size_hw)
    check_size(preparation.size_hw)
    arguments = _own_arguments(kind, name, request, preparation.size_hw) | arguments
    with building(request):
        module: nn.Module = models.get_model(name, weights="DEFAULT" if request.official else None, **arguments)
    own = "torchvision's pretrained weights" if request.official else None
    return Network(
        source=request.source,
        module=module,
        preparation=preparation,
        weights=request.fill(module, own=own, hint=OFFICIAL_HINT),
        known_stages=STAGES.get(name),
        names=names_for(default.meta.get("categories") or (), request.classes),
        check_size=check_size,
        call=_call(kind, clip),
    )


def _kind(models: Any, name: str) -> str:
    """Name the group of networks that one belongs to, ``classification`` for those that have none."""
    group = models.get_model_builder(name).__module__.split(".")[2]
    return group if group in ("detection", "optical_flow", "segmentation", "video") else "classification"


def _preparation(name: str, transforms: Any, size_hw: tuple[int, int] | None) -> Preparation:
    """Say how torchvision prepares a picture for a network.

    A segmentation network and a detector see all of the picture, at any size: here it is made to fit, with a border.
    Some video networks have theirs squeezed to one proportion before it is cut; here it keeps its own.
    """
    kind = type(transforms).__name__
    if name in SSD_SIZES_HW:
        return Preparation(size_hw=size_hw or SSD_SIZES_HW[name], filter="bilinear-aa")
    if kind == "ObjectDetection":
        return Preparation(
            size_hw=size_hw or DETECTOR_SIZE_HW, resize="letterbox", filter="bilinear-aa", pad=DETECTOR_PAD
        )
    segments = kind == "SemanticSegmentation"
    resized = transforms.resize_size[0]
    kept = resized if segments else transforms.crop_size[0]
    return Preparation(
        size_hw=size_hw or (kept, kept),
        resize="letterbox" if segments else "crop",
        crop_share=kept / resized,
        filter=FILTERS[transforms.interpolation.value],
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def _own_arguments(kind: str, name: str, request: Request, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Say what a builder has to be told beside its weights."""
    arguments: dict[str, Any] = {} if request.classes is None else {"num_classes": request.classes}
    if kind in ("detection", "segmentation"):
        arguments["weights_backbone"] = None
    if kind == "detection" and name not in SSD_SIZES_HW:
        arguments |= {"min_size": min(size_hw), "max_size": max(size_hw)}
    elif kind == "segmentation" and request.file is not None and not name.startswith("lraspp"):
        arguments["aux_loss"] = anything_of(request, "aux_classifier.")
    elif name.removeprefix("quantized_") in ("googlenet", "inception_v3") and not request.official:
        # Drawing from a cut normal distribution takes long; torchvision's files hold auxiliary heads, and expect
        # that their input is changed once more.
        auxiliary = anything_of(request, "aux1.") or anything_of(request, "AuxLogits.")
        arguments |= {"init_weights": False, "aux_logits": auxiliary, "transform_input": True}
    elif name.startswith("vit_"):
        arguments["image_size"] = size_hw[0]
    elif name == "maxvit_t":
        arguments["input_size"] = size_hw
    return arguments


def _size_check(kind: str, name: str, built_hw: tuple[int, int]) -> Callable[[tuple[int, int]], None]:
    if name in SSD_SIZES_HW:
        return exactly(SSD_SIZES_HW[name], name)
    if name.startswith("mvit_"):
        return exactly(MVIT_SIZE_HW, name)
    if name.startswith("vit_") and built_hw[0] != built_hw[1]:
        raise OptionError(f"size {built_hw[0]}x{built_hw[1]}: {name} takes squares only")
    if kind == "detection":
        multiples_of(32, name)(built_hw)  # it would pad others
    fixed = kind == "detection" or name.startswith("vit_") or name == "maxvit_t"
    return exactly(built_hw, name) if fixed else any_size


def _call(kind: str, clip: int) -> Callable[[nn.Module, Tensor], Any]:
    if kind == "video":
        return partial(_standing_still, clip)
    return _one_by_one if kind == "detection" else called_plainly


def _one_by_one(module: nn.Module, x: Tensor) -> Any:
    return module(list(x))


def _standing_still(clip: int, module: nn.Module, x: Tensor) -> Any:
    return module(x[:, :, None].expand(-1, -1, clip, -1, -1))
