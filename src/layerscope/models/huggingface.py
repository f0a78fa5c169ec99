"""``hf:PATH``: vision networks of Hugging Face transformers, from a folder or the local cache."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from layerscope.errors import DownloadError, SourceError
from layerscope.extras import require
from layerscope.inputs import Preparation
from layerscope.models.foreign import building, numbered, one_line
from layerscope.models.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from layerscope.inputs.prepare import ResizeMode
    from layerscope.models.request import Request

__all__ = ["load_hf"]

SIZE_HW = (224, 224)
FILTERS = {0: "nearest", 1: "lanczos-aa", 2: "bilinear-aa", 3: "bicubic-aa", 4: "box-aa", 5: "hamming-aa"}
"""Pillow's numbers of its filters, as processors have them, to ours."""

CROPS_BELOW = 384
"""ConvNeXt's processor cuts below this size and stretches from there on."""

UNNAMED = "LABEL_"
"""What classes are called before their number where nobody named them."""

WANTED = ("*.json", "*.safetensors")
"""What is downloaded of a repository; others hold the same weights in other formats, or as pickles."""


def load_hf(request: Request) -> Network:
    """Load ``hf:FOLDER``, or ``hf:OWNER/NAME`` from the local cache; ``--weights official`` downloads the latter.

    The architecture is the one that ``config.json`` names, preparation what the processor beside it says; of a
    network of pictures and words it is the pictures' side. With ``--arg attentions=True`` attention is computed step
    by step and each layer gives its weights, one map a head. Other keywords replace those of the configuration.

    Raises:
        SourceError: There is no such folder, or what is in it is no network of pictures.
        DownloadError: It could not be fetched.
    """
    transformers = require("transformers", "transformers")
    folder = _folder(request)
    arguments = dict(request.arguments)
    attentions = bool(arguments.pop("attentions", False))
    if attentions:
        arguments["attn_implementation"] = "eager"
    if request.classes is not None:
        arguments["num_labels"] = request.classes
    with building(request), _silent(transformers):
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **arguments
        )
        module, own = _build(transformers, config, folder, request)
        request = _translated(request, module, config)
        preparation = _preparation(_processor(transformers, folder), config, request.size)
    return Network(
        source=request.source,
        module=module,
        preparation=preparation,
        weights=request.fill(module, own=own, hint="its folder holds none; --weights FILE loads a file of them"),
        names=_names(config),
        call=_call(module, request, attentions=attentions),
    )


def _names(config: Any) -> tuple[str, ...]:
    labels = getattr(config, "id2label", None) or {}
    names = tuple(str(labels[key]) for key in sorted(labels))
    return names if any(not name.startswith(UNNAMED) for name in names) else numbered(len(names))


def _folder(request: Request) -> Path:
    """Find the folder: as it is named, or of the cache, filled if official weights are wanted."""
    if (folder := Path(request.argument)).is_dir():
        request.refuse_official()
        return folder
    hub = require("huggingface_hub", "transformers")
    try:
        found = hub.snapshot_download(
            request.argument, local_files_only=not request.official, allow_patterns=list(WANTED)
        )
    except Exception as error:  # its errors have many bases
        if request.official:
            raise DownloadError(f"{request.source}: could not be fetched ({one_line(error)})") from error
        raise SourceError(
            f"{request.source}: is no folder, and not in the local cache; --weights official downloads it"
        ) from None
    return Path(found)


def _build(transformers: Any, config: Any, folder: Path, request: Request) -> tuple[nn.Module, str | None]:
    """Load what the folder has, or build it with random weights where it has none; in single precision."""
    name = (config.architectures or ["AutoModel"])[0]
    maker = getattr(transformers, name, None)
    if maker is None:
        raise SourceError(f"{request.source}: this version of transformers has no {name}")
    stored = any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))
    if stored and request.file is None:
        module = maker.from_pretrained(folder, config=config, local_files_only=True)
        return module.float(), f"{folder.name} (transformers)"
    module = maker.from_config(config) if name == "AutoModel" else maker(config)
    return module.float(), None


def _translated(request: Request, module: nn.Module, config: Any) -> Request:
    """Give the tensors of a weights file the names that this version of transformers has for them.

    Saved files keep the names of old versions, and transformers knows what became of them. What it cannot place
    stays as it is, to be refused or left out as everywhere.
    """
    state = request.file.state if request.file is not None else None
    if request.file is None or state is None or state.keys() == module.state_dict().keys():
        return request
    maker: Any = type(module)
    filled, told = maker.from_pretrained(
        None, config=config, state_dict=dict(state), ignore_mismatched_sizes=True, output_loading_info=True
    )
    absent = set(told["missing_keys"])
    placed = {key: tensor for key, tensor in filled.state_dict().items() if key not in absent}
    placed |= {key: torch.empty(shape, device="meta") for key, shape, _ in told["mismatched_keys"]}
    placed |= {key: state[key] for key in told["unexpected_keys"] if key in state}
    return replace(request, file=replace(request.file, state=placed))


@dataclass(frozen=True, slots=True)
class _Call:
    """Calls a network with pictures alone.

    Attributes:
        method: Of the module; None: the module itself.
        interpolates: Whether positions can be fitted to other sizes than the own.
        attentions: Whether attention weights are to be given.
    """

    method: str | None
    interpolates: bool
    attentions: bool

    def __call__(self, module: nn.Module, x: Tensor) -> Any:
        called = getattr(module, self.method) if self.method else module
        more: dict[str, Any] = {"interpolate_pos_encoding": True} if self.interpolates else {}
        if self.attentions:
            more["output_attentions"] = True
        return called(pixel_values=x, **more)


def _call(module: nn.Module, request: Request, *, attentions: bool) -> _Call:
    method = None
    if getattr(module, "main_input_name", "pixel_values") != "pixel_values":
        method = "get_image_features"
        if not hasattr(module, method):
            raise SourceError(f"{request.source}: {type(module).__name__} takes {module.main_input_name}, no pictures")
    takes = inspect.signature(getattr(module, method) if method else module.forward).parameters
    return _Call(method, "interpolate_pos_encoding" in takes, attentions)


def _processor(transformers: Any, folder: Path) -> dict[str, Any]:
    """Read how the folder's own processor prepares a picture; nothing where there is none."""
    if not (folder / "preprocessor_config.json").is_file():
        return {}
    told: dict[str, Any] = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True).to_dict()
    return told


def _preparation(told: dict[str, Any], config: Any, size_hw: tuple[int, int] | None) -> Preparation:
    size = told.get("size")
    cropped = _size(told.get("crop_size")) if told.get("do_center_crop") else None
    own = cropped or _size(size) or _size(getattr(config, "image_size", None)) or SIZE_HW
    resize, share = _resize(told, size if isinstance(size, dict) else {}, own)
    rescaled = told.get("do_rescale", True)
    normalised = told.get("do_normalize", bool(told))
    return Preparation(
        size_hw=size_hw or own,
        resize=resize,
        crop_share=share,
        filter=FILTERS.get(int(told.get("resample") or 2), "bilinear-aa"),
        range="0-1" if rescaled else "0-255",
        mean=told.get("image_mean") if normalised else None,
        std=told.get("image_std") if normalised else None,
    )


def _resize(told: dict[str, Any], size: dict[str, Any], own: tuple[int, int]) -> tuple[ResizeMode, float]:
    """Say how a processor brings a picture to size, and which share it keeps of what it cuts."""
    shortest = size.get("shortest_edge")
    if "crop_pct" in told and shortest:
        return ("crop", float(told["crop_pct"] or 1)) if shortest < CROPS_BELOW else ("stretch", 1.0)
    if told.get("do_center_crop"):
        edge = shortest or min(_size(size) or own)
        return "crop", min(1.0, min(own) / edge)
    return ("letterbox", 1.0) if shortest else ("stretch", 1.0)


def _size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, dict):
        if "height" in value and "width" in value:
            return int(value["height"]), int(value["width"])
        value = value.get("shortest_edge")
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    return (value, value) if isinstance(value, int) else None


@contextmanager
def _silent(transformers: Any) -> Iterator[None]:
    """Keep transformers from talking and from drawing bars while it loads."""
    log = transformers.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
