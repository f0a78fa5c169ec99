"""``ultralytics:NAME.yaml`` and ``ultralytics:FILE.pt``: the networks of Ultralytics, all tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import OptionError, SourceError, UnsafeWeightsError
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from layerscope.models.request import Request

__all__ = ["load_ultralytics"]

SIZE_HW = (640, 640)
CLASSIFIER_SIZE_HW = (224, 224)
PAD = 114


def load_ultralytics(request: Request) -> Network:
    """Load ``ultralytics:NAME.yaml`` (its architecture; weights by ``-w``) or ``ultralytics:FILE.pt``.

    A ``.pt`` file of Ultralytics is a pickle of the whole network and runs code, so it needs to be trusted. The
    network is neither fused nor warmed up.

    Raises:
        SourceError: There is no such network.
        UnsafeWeightsError: The file is a pickle and is not trusted.
    """
    request.refuse_arguments()
    name = request.argument
    if name.endswith(".pt"):
        _check_file(Path(name), request)
    with _silent():
        ultralytics = require("ultralytics", "ultralytics")
        try:
            with request.seeded():
                model = ultralytics.YOLO(name, verbose=False)
                module: nn.Module = model.model.float()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SyntaxError, ModuleNotFoundError) as error:
            text = " ".join(str(error).split())[:200]
            raise SourceError(f"{request.source}: cannot be loaded ({text})") from error
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    own = f"{Path(name).name} (Ultralytics)" if name.endswith(".pt") else None
    report = request.fill(module, own=own, hint="--weights FILE loads trained ones")
    classifies = model.task == "classify"
    names = getattr(module, "names", None) or {}
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(
            size_hw=request.size or (CLASSIFIER_SIZE_HW if classifies else SIZE_HW),
            resize="crop" if classifies else "letterbox",
            filter="bilinear-aa" if classifies else "bilinear",
            pad=PAD,
        ),
        weights=report,
        names=tuple(names[key] for key in sorted(names)) if isinstance(names, dict) else tuple(names),
        check_size=_size_check(1 if classifies else _largest_stride(module)),
    )


def _check_file(path: Path, request: Request) -> None:
    if not path.is_file():
        raise SourceError(f"{path}: no such file; an architecture is ultralytics:{path.stem}.yaml")
    if not request.weights.trust_pickle:
        raise UnsafeWeightsError(
            f"{path}: a file of Ultralytics is a pickle that runs code; say --trust-pickle if you trust its author, or "
            f"load a state dict into ultralytics:{path.stem}.yaml by -w"
        )
    with path.open("rb") as stream:
        if stream.read(2) not in (b"PK", pickle.PROTO + b"\x02"):
            raise SourceError(f"{path}: is no PyTorch file")


def _largest_stride(module: nn.Module) -> int:
    stride: Any = getattr(module, "stride", None)
    return max(32, int(stride.max())) if stride is not None and stride.numel() else 32


def _size_check(multiple: int) -> Callable[[tuple[int, int]], None]:
    def check(size_hw: tuple[int, int]) -> None:
        if size_hw[0] % multiple or size_hw[1] % multiple:
            raise OptionError(f"size {size_hw[0]}x{size_hw[1]}: height and width must be multiples of {multiple}")

    return check


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep Ultralytics from talking while it builds."""
    os.environ.setdefault("YOLO_VERBOSE", "false")
    logger = logging.getLogger("ultralytics")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        logger.setLevel(level)
