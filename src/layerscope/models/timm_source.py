"""``timm:NAME``: the networks of PyTorch Image Models."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from layerscope.errors import DownloadError, OptionError, SourceError, nearest
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from layerscope.models.request import Request

__all__ = ["load_timm"]

RESIZES = {"center": "crop", "squash": "stretch", "border": "letterbox"}


def load_timm(request: Request) -> Network:
    """Load ``timm:NAME``.

    Preparation is what timm resolves for the network; stages are its own ``feature_info``. Keywords go to
    ``timm.create_model``; ``--arg fused_attn=False`` has attention computed step by step, so that its weights exist,
    as the operation ``blocks.0.attn.softmax``.

    Raises:
        SourceError: timm has no such network, or cannot build it.
        DownloadError: Official weights could not be fetched.
    """
    timm = require("timm", "timm")
    name = request.argument
    if not timm.is_model(name):
        raise SourceError(f"timm has no network {name!r}{nearest(name.partition('.')[0], timm.list_models())}")
    module = _build(timm, name, request)
    config = timm.data.resolve_model_data_config(module)
    size_hw = request.size or tuple(config["input_size"][-2:])
    return Network(
        source=request.source,
        module=module,
        preparation=_preparation(config, size_hw),
        weights=request.fill(
            module,
            own="timm's pretrained weights" if request.official else None,
            hint="--weights official downloads timm's, --weights FILE loads a file of them",
        ),
        known_stages=_stages(module),
        names=_names(timm, module),
        check_size=_size_check(name, module, size_hw),
    )


def _build(timm: Any, name: str, request: Request) -> nn.Module:
    arguments: dict[str, Any] = dict(request.arguments)
    fused = arguments.pop("fused_attn", None)
    if request.classes is not None:
        arguments["num_classes"] = request.classes
    config = timm.get_pretrained_cfg(name)
    if request.size is not None and config is not None and config.fixed_input_size:
        arguments.setdefault("img_size", request.size)
    before = timm.layers.use_fused_attn()
    try:
        with request.seeded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if fused is not None:
                timm.layers.set_fused_attn(bool(fused))
            module: nn.Module = timm.create_model(name, pretrained=request.official, **arguments)
    except (OSError, ConnectionError) as error:
        raise DownloadError(f"{request.source}: its weights could not be fetched ({_line(error)})") from None
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise SourceError(f"{request.source}: cannot be built ({_line(error)})") from error
    finally:
        if fused is not None:
            timm.layers.set_fused_attn(bool(before))
    return module


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _preparation(config: dict[str, Any], size_hw: tuple[int, int]) -> Preparation:
    share = config.get("crop_pct") or 1.0
    resized = math.floor(size_hw[0] / share)  # timm's own rounding
    return Preparation(
        size_hw=size_hw,
        resize=RESIZES[config.get("crop_mode") or "center"],  # type: ignore[arg-type]  # its values are resizes
        crop_share=min(1.0, size_hw[0] / resized),
        filter=f"{config['interpolation']}-aa" if config["interpolation"] != "random" else "bicubic-aa",
        mean=tuple(config["mean"]) if len(config["mean"]) == 3 else None,
        std=tuple(config["std"]) if len(config["std"]) == 3 else None,
    )


def _stages(module: nn.Module) -> tuple[str, ...] | None:
    """Take the last module at each reduction that timm names."""
    found: dict[int, str] = {}
    names = {name for name, _ in module.named_modules()}
    for entry in getattr(module, "feature_info", None) or ():
        if isinstance(entry, dict) and entry.get("module") in names:
            found[int(entry.get("reduction", 0))] = entry["module"]
    return tuple(found.values()) or None


def _names(timm: Any, module: nn.Module) -> tuple[str, ...]:
    classes = int(getattr(module, "num_classes", 0) or 0)
    subset = timm.data.infer_imagenet_subset(module)
    if subset:
        info = timm.data.ImageNetInfo(subset)
        if info.num_classes() == classes:
            return tuple(info.index_to_description(index) for index in range(classes))
    return tuple(f"class {index}" for index in range(classes))


def _size_check(name: str, module: nn.Module, built_hw: tuple[int, int]) -> Callable[[tuple[int, int]], None]:
    fixed = bool((getattr(module, "pretrained_cfg", None) or {}).get("fixed_input_size"))

    def check(size_hw: tuple[int, int]) -> None:
        if fixed and size_hw != built_hw:
            raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: {name} was built for {built_hw[0]}x{built_hw[1]}")

    return check
