"""``ultralytics:NAME.yaml`` and ``ultralytics:FILE.pt``: the networks of Ultralytics, all tasks."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from PIL import Image

from layerscope.errors import OptionError, SourceError, UnsafeWeightsError
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.class_names import class_names
from layerscope.models.foreign import any_size, building, multiples_of, numbered
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from layerscope.models.request import Request

__all__ = ["load_ultralytics"]

SIZE_HW = (640, 640)
CLASSIFIER_SIZE_HW = (224, 224)
PAD = 114
LEAST_MULTIPLE = 32

ALONE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
"""What Ultralytics reads where it is imported: whether it may ask the network, and install packages."""


def load_ultralytics(request: Request) -> Network:
    """Load ``ultralytics:NAME.yaml`` (its architecture; weights by ``-w``) or ``ultralytics:FILE.pt``.

    A ``.pt`` file of Ultralytics is a pickle of the whole network and runs code, so it needs to be trusted. The
    network is neither fused nor warmed up.

    Raises:
        SourceError: There is no such network or file, or it cannot be built.
        UnsafeWeightsError: The file is a pickle and is not trusted.
        OptionError: A file has another number of classes.
    """
    request.refuse_arguments()
    request.refuse_official()
    name = request.argument
    _check_name(name, request)
    with building(request), _silent():
        ultralytics = require("ultralytics", "ultralytics")
        model = ultralytics.RTDETR(name) if "rtdetr" in Path(name).stem else ultralytics.YOLO(name, verbose=False)
        module: nn.Module = model.model
        if request.classes is not None and name.endswith(".yaml"):
            module = type(module)(name, nc=request.classes, verbose=False)
    own = None if name.endswith(".yaml") else f"{Path(name).name} (Ultralytics)"
    report = request.fill(module, own=own, hint="--weights FILE loads a state dict of trained ones")
    names = _names(module)
    if own and request.classes not in (None, len(names)):
        raise OptionError(f"classes: {name} has {len(names)}")
    return Network(
        source=request.source,
        module=module,
        preparation=_preparation(model.task, module, request.size, trained=own is not None),
        weights=report,
        names=names,
        check_size=any_size if model.task == "classify" else multiples_of(_multiple(module), name),
    )


def _check_name(name: str, request: Request) -> None:
    """Refuse what Ultralytics would look for on the network, and pickles that are not trusted."""
    if name.endswith(".yaml") and "://" not in name:
        return
    if not name.endswith(".pt"):
        raise SourceError(
            f"{request.source}: expected an architecture, as in ultralytics:yolo11n.yaml, or a file, as in "
            "ultralytics:best.pt"
        )
    path = Path(name)
    if not path.is_file():
        raise SourceError(f"{name}: no such file; the architecture alone is ultralytics:{path.stem}.yaml")
    if not request.weights.trust_pickle:
        raise UnsafeWeightsError(
            f"{name}: a network saved by Ultralytics is a pickle, which could run any code; load its state_dict() "
            f"into ultralytics:{path.stem}.yaml by --weights, or, if you trust whoever made it, say --trust-pickle "
            "(trust_pickle=True)"
        )


def _preparation(task: str, module: nn.Module, size_hw: tuple[int, int] | None, *, trained: bool) -> Preparation:
    classifies = task == "classify"
    if size_hw is None:
        size_hw = CLASSIFIER_SIZE_HW if classifies else SIZE_HW
        if trained and isinstance(side := _trained_side(module), int):
            size_hw = (side, side)
    if classifies:
        return Preparation(size_hw=size_hw, resize="crop", filter="bilinear-aa")
    return Preparation(size_hw=size_hw, resize="letterbox", pad=PAD)


def _trained_side(module: nn.Module) -> Any:
    arguments: Any = getattr(module, "args", None)  # a dict, or a namespace in older files
    return arguments.get("imgsz") if hasattr(arguments, "get") else getattr(arguments, "imgsz", None)


def _names(module: nn.Module) -> tuple[str, ...]:
    """Give the classes' names; an architecture has numbers only, 80 of them for COCO."""
    known: Any = getattr(module, "names", None) or {}
    names = tuple(str(known[key]) for key in sorted(known)) if isinstance(known, dict) else tuple(map(str, known))
    if any(name != str(index) for index, name in enumerate(names)):
        return names
    return class_names(80) if len(names) == 80 else numbered(len(names))


def _multiple(module: nn.Module) -> int:
    stride: Any = getattr(module, "stride", None)
    return max(LEAST_MULTIPLE, int(stride.max())) if stride is not None and stride.numel() else LEAST_MULTIPLE


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Ultralytics from talking, from the network and from the environment while it is imported and builds."""
    disabled, opened = logging.root.manager.disable, Image.open
    logging.disable(logging.CRITICAL)
    try:
        with patch.dict(os.environ, ALONE), Path(os.devnull).open("w") as nowhere:
            require("ultralytics", "ultralytics")  # before: its logger keeps the stream that it finds
            with redirect_stdout(nowhere):
                yield
    finally:
        logging.disable(disabled)
        Image.open = opened  # it puts one of its own there, which installs packages over a broken picture
