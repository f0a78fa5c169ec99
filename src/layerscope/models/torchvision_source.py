"""``torchvision:NAME``: classifiers, detectors, segmentation and video networks of torchvision."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from layerscope.errors import DownloadError, OptionError, SourceError, nearest
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from layerscope.models.request import Request

__all__ = ["load_torchvision"]

DETECTOR_SIZE_HW = (320, 320)
CLIP_FRAMES = 16
"""How long a picture stands still for a network that takes videos."""

FILTERS = {"nearest": "nearest", "bilinear": "bilinear-aa", "bicubic": "bicubic-aa", "lanczos": "lanczos-aa"}


def load_torchvision(request: Request) -> Network:
    """Load ``torchvision:NAME``.

    Preparation and class names are those of the network's default weights, which are not needed for that. A
    detector normalises and resizes inside; it is set so that it leaves the size alone. For a video network the
    picture stands still, for 16 frames or ``--arg frames=N``.

    Raises:
        SourceError: torchvision has no such network, or cannot build it.
        DownloadError: Official weights could not be fetched.
    """
    models = require("torchvision", "torchvision").models
    name = request.argument
    if name not in models.list_models():
        raise SourceError(f"torchvision has no network {name!r}{nearest(name, models.list_models())}")
    kind = models.get_model_builder(name).__module__.split(".")[2:3]
    if kind == ["optical_flow"]:
        raise SourceError(f"torchvision:{name} takes two pictures; around your own call use layerscope.tap")
    arguments = dict(request.arguments)
    clip = int(arguments.pop("frames", CLIP_FRAMES))
    default = models.get_model_weights(name).DEFAULT
    preparation = _preparation(default.transforms(), request.size)
    module = _build(models, name, request, arguments, preparation.size_hw)
    hint = "--weights official downloads torchvision's, --weights FILE loads a file of them"
    report = request.fill(module, own="torchvision's pretrained weights" if request.official else None, hint=hint)
    return Network(
        source=request.source,
        module=module,
        preparation=preparation,
        weights=report,
        names=_names(default, request),
        check_size=_size_check(name, module, preparation.size_hw),
        call=_call(kind, clip),
    )


def _preparation(transforms: Any, size: tuple[int, int] | None) -> Preparation:
    kind = type(transforms).__name__
    if kind == "ObjectDetection":
        return Preparation(size_hw=size or DETECTOR_SIZE_HW, resize="letterbox", filter="bilinear-aa", pad=0)
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    interpolation = FILTERS[transforms.interpolation.value]
    resized = transforms.resize_size[0]
    if kind == "SemanticSegmentation":
        size_hw = size or (resized, resized)
        return Preparation(size_hw=size_hw, resize="letterbox", filter=interpolation, mean=mean, std=std)
    kept = transforms.crop_size[0]
    return Preparation(
        size_hw=size or (kept, kept),
        resize="crop",
        crop_share=kept / resized,
        filter=interpolation,
        mean=mean,
        std=std,
    )


def _build(models: Any, name: str, request: Request, arguments: dict[str, Any], size_hw: tuple[int, int]) -> nn.Module:
    arguments = _own_arguments(models, name, request, size_hw) | arguments
    try:
        with request.seeded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = models.get_model(name, weights="DEFAULT" if request.official else None, **arguments)
    except OSError as error:
        raise DownloadError(f"{request.source}: its weights could not be fetched ({error})") from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise SourceError(f"{request.source}: cannot be built ({' '.join(str(error).split())[:200]})") from error
    return module


def _own_arguments(models: Any, name: str, request: Request, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Say what a builder has to be told beside its weights."""
    arguments: dict[str, Any] = {}
    if request.classes is not None:
        arguments["num_classes"] = request.classes
    state = request.file.state if request.file is not None else None
    if name in models.list_models(module=models.detection):
        arguments["weights_backbone"] = None
        if not name.startswith("ssd"):  # those have a size of their own
            arguments |= {"min_size": min(size_hw), "max_size": max(size_hw)}
    elif name in models.list_models(module=models.segmentation):
        arguments["weights_backbone"] = None
        if state is not None and not name.startswith("lraspp"):
            arguments["aux_loss"] = any(key.startswith("aux_classifier.") for key in state)
    elif name in ("googlenet", "inception_v3") and not request.official:
        arguments["init_weights"] = False  # a minute of random numbers that no better serve
    elif name.startswith("vit_"):
        arguments["image_size"] = size_hw[0]
    elif name == "maxvit_t":
        arguments["input_size"] = size_hw
    return arguments


def _names(default: Any, request: Request) -> tuple[str, ...]:
    names = tuple(default.meta.get("categories") or ())
    if request.classes is not None and request.classes != len(names):
        return tuple(f"class {index}" for index in range(request.classes))
    return names


def _size_check(name: str, module: nn.Module, built_hw: tuple[int, int]) -> Callable[[tuple[int, int]], None]:
    def check(size_hw: tuple[int, int]) -> None:
        if fixed is not None and size_hw != fixed:
            raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: {name} was built for {fixed[0]}x{fixed[1]}")
        if detects and (size_hw[0] % 32 or size_hw[1] % 32):
            raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: {name} takes multiples of 32, for it pads others")

    transform = getattr(module, "transform", None)
    fixed: tuple[int, int] | None = None
    if getattr(transform, "fixed_size", None):
        fixed = tuple(transform.fixed_size[::-1])  # type: ignore[union-attr]
    elif transform is not None or name.startswith("vit_") or name == "maxvit_t":
        fixed = built_hw
    detects = transform is not None and not getattr(transform, "fixed_size", None)
    if name.startswith("vit_") and built_hw[0] != built_hw[1]:
        raise OptionError(f"size {built_hw[0]}x{built_hw[1]}: {name} takes squares")
    return check


def _call(kind: list[str], clip: int) -> Callable[[nn.Module, Tensor], Any]:
    def plainly(module: nn.Module, x: Tensor) -> Any:
        return module(x)

    def one_by_one(module: nn.Module, x: Tensor) -> Any:
        return module(list(x))

    def standing_still(module: nn.Module, x: Tensor) -> Any:
        return module(x[:, :, None].expand(-1, -1, clip, -1, -1))

    return {"detection": one_by_one, "video": standing_still}.get(kind[0] if kind else "", plainly)
