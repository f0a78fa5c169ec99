"""``timm:NAME``: the networks of PyTorch Image Models."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from layerscope.errors import OptionError, SourceError, nearest
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.foreign import OFFICIAL_HINT, any_size, building, exactly, numbered
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layerscope.inputs.prepare import ResizeMode
    from layerscope.models.request import Request

__all__ = ["load_timm"]

RESIZES: dict[str, ResizeMode] = {"center": "crop", "squash": "stretch", "border": "letterbox"}
FILTERS = {"bilinear": "bilinear-aa", "bicubic": "bicubic-aa", "lanczos": "lanczos-aa", "nearest": "nearest"}


def load_timm(request: Request) -> Network:
    """Load ``timm:NAME``.

    Preparation is what timm resolves for the network; stages are its own ``feature_info``. Keywords go to
    ``timm.create_model``; ``--arg fused_attn=False`` has attention computed step by step, so that its weights exist,
    as the operation ``blocks.0.attn.softmax``.

    Raises:
        SourceError: timm has no such network, or cannot build it.
        OptionError: There are no official weights of it.
        DownloadError: Official weights could not be fetched.
    """
    timm = require("timm", "timm")
    name = request.argument
    if not timm.is_model(name):
        raise SourceError(f"timm has no network {name!r}{nearest(name.partition('.')[0], timm.list_models())}")
    if request.official and not timm.models.is_model_pretrained(name):
        raise OptionError(f"weights: no official ones are known for {request.source}; give a file")
    module = _build(timm, name, request)
    config = timm.data.resolve_model_data_config(module)
    size_hw = request.size or tuple(config["input_size"][-2:])
    own = "timm's pretrained weights" if request.official else None
    return Network(
        source=request.source,
        module=module,
        preparation=_preparation(config, size_hw),
        weights=request.fill(module, own=own, hint=OFFICIAL_HINT),
        likely_stages=_stages(module),
        names=_names(timm, module),
        check_size=exactly(size_hw, name) if _of_one_size(module) else any_size,
    )


def _build(timm: Any, name: str, request: Request) -> nn.Module:
    arguments: dict[str, Any] = dict(request.arguments)
    fused = arguments.pop("fused_attn", None)
    if request.classes is not None:
        arguments["num_classes"] = request.classes
    if request.size is not None and timm.get_pretrained_cfg(name).fixed_input_size:
        arguments.setdefault("img_size", request.size)
    with building(request), _attention(timm.layers, fused):
        module: nn.Module = timm.create_model(name, pretrained=request.official, **arguments)
    return module


@contextmanager
def _attention(layers: Any, fused: bool | None) -> Iterator[None]:
    """Say for the networks that are built meanwhile how they compute attention; None: as timm is set."""
    before = layers.use_fused_attn()
    if fused is not None:
        layers.set_fused_attn(bool(fused))
    try:
        yield
    finally:
        if fused is not None:
            layers.set_fused_attn(bool(before))


def _preparation(config: dict[str, Any], size_hw: tuple[int, int]) -> Preparation:
    mean = tuple(config["mean"])
    resized = math.floor(size_hw[0] / (config["crop_pct"] or 1.0))  # timm's own rounding
    return Preparation(
        size_hw=size_hw,
        resize=RESIZES[config["crop_mode"] or "center"],
        crop_share=min(1.0, size_hw[0] / resized),
        filter=FILTERS.get(config["interpolation"], "bicubic-aa"),
        mean=mean,
        std=tuple(config["std"]),
        pad=round(255 * sum(mean) / len(mean)),
    )


def _stages(module: nn.Module) -> tuple[str, ...]:
    """Take the last module at each reduction that timm names, among those that are called: lists of them are not."""
    names = {name for name, part in module.named_modules() if name and not isinstance(part, nn.ModuleList)}
    entries = getattr(module, "feature_info", None) or ()
    entries = [entry for entry in entries if isinstance(entry, dict) and entry.get("module") in names]
    return tuple({entry["reduction"]: entry["module"] for entry in entries}.values())


def _names(timm: Any, module: nn.Module) -> tuple[str, ...]:
    classes = int(getattr(module, "num_classes", 0) or 0)
    if subset := timm.data.infer_imagenet_subset(module):
        info = timm.data.ImageNetInfo(subset)
        if info.num_classes() == classes:
            return tuple(info.index_to_description(index) for index in range(classes))
    return numbered(classes)


def _of_one_size(module: nn.Module) -> bool:
    return bool((getattr(module, "pretrained_cfg", None) or {}).get("fixed_input_size"))
