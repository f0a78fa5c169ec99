"""``hf:PATH``: vision networks of Hugging Face transformers, from a folder or the local cache."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.errors import DownloadError, SourceError
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from layerscope.models.request import Request

__all__ = ["load_hf"]

RESAMPLES = {0: "nearest", 1: "lanczos-aa", 2: "bilinear-aa", 3: "bicubic-aa", 4: "box-aa"}
"""Pillow's numbers of its filters, as preprocessor_config.json has them."""


def load_hf(request: Request) -> Network:
    """Load ``hf:FOLDER``, or ``hf:OWNER/NAME`` from the local cache; ``--weights official`` lets it be downloaded.

    With ``--arg attentions=True`` attention is computed step by step and each layer gives its weights, one map a head.

    Raises:
        SourceError: There is no such folder, or what is in it is no network.
        DownloadError: It could not be fetched.
    """
    transformers = require("transformers", "transformers")
    folder = _folder(request)
    arguments = dict(request.arguments)
    attentions = bool(arguments.pop("attentions", False))
    if attentions:
        arguments["attn_implementation"] = "eager"
    with _silent(transformers):
        config = _config(transformers, folder, request)
        maker = getattr(transformers, (config.architectures or ["AutoModel"])[0], transformers.AutoModel)
        module, own = _build(maker, config, folder, request, arguments)
    names = getattr(config, "id2label", None) or {}
    return Network(
        source=request.source,
        module=module,
        preparation=_preparation(folder, config, request.size),
        weights=request.fill(module, own=own, hint="its folder holds none"),
        names=tuple(str(names[key]) for key in sorted(names)),
        call=_with_attentions if attentions else _plainly,
    )


def _plainly(module: nn.Module, x: Tensor) -> Any:
    return module(pixel_values=x)


def _with_attentions(module: nn.Module, x: Tensor) -> Any:
    return module(pixel_values=x, output_attentions=True)


def _folder(request: Request) -> Path:
    if (folder := Path(request.argument)).is_dir():
        return folder
    hub = require("huggingface_hub", "transformers")
    try:
        return Path(hub.snapshot_download(request.argument, local_files_only=not request.official))
    except Exception as error:  # its errors have many bases
        text = " ".join(str(error).split())[:160]
        if request.official:
            raise DownloadError(f"{request.source}: could not be fetched ({text})") from None
        raise SourceError(
            f"{request.source}: is no folder, and not in the local cache; --weights official downloads it"
        ) from None


def _config(transformers: Any, folder: Path, request: Request) -> Any:
    try:
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())[:200]
        raise SourceError(f"{request.source}: {folder} holds no network of transformers ({text})") from None


def _build(
    maker: Any, config: Any, folder: Path, request: Request, arguments: dict[str, Any]
) -> tuple[nn.Module, str | None]:
    """Load what the folder has, or build it with random weights where it has none."""
    stored = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    try:
        with request.seeded():
            if stored and request.file is None:
                return maker.from_pretrained(
                    folder, local_files_only=True, **arguments
                ), f"{folder.name} (transformers)"
            if "attn_implementation" in arguments:
                config._attn_implementation = arguments.pop("attn_implementation")
            return maker(config, **arguments), None
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        text = " ".join(str(error).split())[:200]
        raise SourceError(f"{request.source}: cannot be built ({text})") from error


def _preparation(folder: Path, config: Any, size: tuple[int, int] | None) -> Preparation:
    path = folder / "preprocessor_config.json"
    given: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        given = json.loads(path.read_text(encoding="utf-8"))
    own = _size(given.get("crop_size") if given.get("do_center_crop") else given.get("size")) or _size(
        getattr(config, "image_size", None)
    )
    size_hw = size or own or (224, 224)
    share = _share(given, size_hw)
    return Preparation(
        size_hw=size_hw,
        resize="stretch" if share is None else "crop",
        crop_share=share or 1.0,
        filter=RESAMPLES.get(given.get("resample", 2), "bilinear-aa"),
        mean=given.get("image_mean") if given.get("do_normalize", True) else None,
        std=given.get("image_std") if given.get("do_normalize", True) else None,
    )


def _size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    if isinstance(value, dict):
        if "height" in value and "width" in value:
            return int(value["height"]), int(value["width"])
        return _size(value.get("shortest_edge"))
    return None


def _share(given: dict[str, Any], size_hw: tuple[int, int]) -> float | None:
    """Say how much of the resized picture is kept; None where it is stretched."""
    size = given.get("size")
    shortest = size.get("shortest_edge") if isinstance(size, dict) else None
    if given.get("do_center_crop") and shortest:
        return min(1.0, size_hw[0] / int(shortest))
    if "crop_pct" in given and shortest and int(shortest) < 384:  # ConvNeXt's own rule
        return float(given["crop_pct"])
    return 1.0 if shortest else None


@contextlib.contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Keep transformers from talking and from drawing bars while it loads."""
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(level)
