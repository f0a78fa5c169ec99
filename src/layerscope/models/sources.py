"""A source string to a network."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from layerscope.errors import OptionError, SourceError, nearest
from layerscope.inputs import Preparation, with_options
from layerscope.models.class_names import read_names
from layerscope.models.download import official_weights
from layerscope.models.request import Loader, Request
from layerscope.models.weights import WeightsOptions, open_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from layerscope.inputs.options import PreparationOptions
    from layerscope.models.network import Network

__all__ = ["FILES", "SOURCES", "SOURCE_FORMS", "load"]

MOST_CLASSES = 100_000

SOURCES = {
    "demo": "layerscope.models.own:load_demo",
    "yolov3": "layerscope.models.own:load_yolov3",
    "darknet53": "layerscope.models.own:load_darknet53",
    "darknet": "layerscope.models.own:load_darknet",
    "torchvision": "layerscope.models.torchvision_source:load_torchvision",
    "timm": "layerscope.models.timm_source:load_timm",
    "ultralytics": "layerscope.models.ultralytics_source:load_ultralytics",
    "hf": "layerscope.models.huggingface:load_hf",
    "smp": "layerscope.models.segmentation:load_smp",
}
"""What stands before a source's colon, to the function that loads it, imported when it is asked for."""

OWN = frozenset(("demo", "yolov3", "darknet53", "darknet"))
"""Those that Layerscope builds itself."""

FILES: dict[str, str] = {
    ".onnx": "layerscope.models.onnx_source:load_onnx",
    ".pt2": "layerscope.models.exported:load_exported",
    ".torchscript": "layerscope.models.scripted:load_scripted",
    ".ts": "layerscope.models.scripted:load_scripted",
    ".pt": "layerscope.models.pickled:load_pickled",
    ".pth": "layerscope.models.pickled:load_pickled",
    ".pkl": "layerscope.models.pickled:load_pickled",
}
"""Endings of files that are a source by themselves, likewise."""

CODE = "layerscope.models.code:load_code"

SOURCE_FORMS = (
    "demo",
    "yolov3",
    "darknet53",
    "darknet:FILE.cfg",
    "torchvision:NAME",
    "timm:NAME",
    "ultralytics:NAME.yaml",
    "hf:FOLDER",
    "smp:NAME",
    "FILE.onnx",
    "FILE.pt2",
    "FILE.torchscript",
    "FILE.pt",
    "FILE.py:NAME",
    "package.module:NAME",
)

ENTRY_POINTS = "layerscope.sources"
"""The group of entry points by which other packages add sources."""


def load(
    source: str,
    *,
    weights: str | Path | None = None,
    partial: bool = False,
    trust_pickle: bool = False,
    seed: int = 0,
    bn_eps: float | None = None,
    classes: int | None = None,
    names: str | Path | None = None,
    arguments: Mapping[str, Any] | None = None,
    device: str = "auto",
    **preparation: Unpack[PreparationOptions],
) -> Network:
    """Load a network.

    Args:
        source: ``demo`` (a small trained detector that ships inside), ``yolov3``, ``darknet53``, ``darknet:FILE.cfg``;
            ``torchvision:NAME``, ``timm:NAME``, ``ultralytics:NAME.yaml``, ``hf:FOLDER``, ``smp:NAME``; a file
            ``.onnx``, ``.pt2``, ``.torchscript`` or, trusted, ``.pt``; ``FILE.py:NAME`` and ``package.module:NAME``, a
            module or what builds one; or what an installed package adds.
        weights: A weights file of any kind, or ``official`` for the authors' own, downloaded; None for seeded random
            ones, with a warning (``demo`` has its own).
        partial: Take what fits of weights that do not fit whole.
        trust_pickle: Unpickle weights that run code.
        seed: Of random weights.
        bn_eps: Batch norm epsilon; None: what the weights' own codebase uses.
        classes: Number of classes; None: what the weights say.
        names: A ``.names`` file with one class a line.
        arguments: Keywords for what builds the network.
        device: ``cpu``, ``cuda``, ``mps``, ... or ``auto`` for the best there is.
        **preparation: ``size``, ``resize``, ``filter``, ``order``, ``range``, ``mean``, ``std``, ``pad``:
            replace parts of how the network prepares a picture.

    Raises:
        SourceError: The source names no network, or its file cannot be built.
        WeightsError: The weights cannot be read or do not fit.
        OptionError: An option is wrong.

    >>> load("demo").names[:3]
    ('disc', 'ring', 'square')
    """
    if classes is not None and not 1 <= classes <= MOST_CLASSES:
        raise OptionError(f"classes: expected a number from 1 to {MOST_CLASSES}, got {classes}")
    loader, argument = find_loader(source)
    official = weights == "official"
    if official and source.partition(":")[0] in OWN:
        weights, official = official_weights(source), False
    request = Request(
        source=source,
        argument=argument,
        file=open_weights(weights, trust_pickle=trust_pickle) if weights is not None and not official else None,
        official=official,
        weights=WeightsOptions(partial=partial, trust_pickle=trust_pickle, seed=seed, bn_eps=bn_eps),
        classes=classes,
        size=with_options(Preparation(), **preparation).size_hw if preparation.get("size") else None,
        arguments=arguments or {},
    )
    network = loader(request)
    network.preparation = network.prepared(**preparation)
    if names is not None:
        network.names = read_names(names, len(network.names))
    network.module.to(pick_device(device))
    return network


def find_loader(source: str) -> tuple[Loader, str]:
    """Find what loads a source, and what is to be told to it.

    Raises:
        SourceError: Nothing does.
    """
    kind, colon, argument = source.partition(":")
    if kind in SOURCES:
        return _import(SOURCES[kind]), argument
    if (ending := Path(source).suffix.lower()) in FILES:
        return _import(FILES[ending]), source
    for entry in entry_points(group=ENTRY_POINTS, name=kind):
        return cast("Loader", entry.load()), argument
    if colon and _may_be_code(source.rpartition(":")[0]):
        return _import(CODE), source
    others = sorted(entry.name for entry in entry_points(group=ENTRY_POINTS))
    raise SourceError(
        f"no network is called {source!r}; there are {', '.join([*SOURCE_FORMS, *others])}"
        f"{nearest(kind, [*SOURCES, *others])}"
    )


def _import(place: str) -> Loader:
    module, _, name = place.partition(":")
    return cast("Loader", getattr(importlib.import_module(module), name))


def _may_be_code(place: str) -> bool:
    """Tell a file of code, or the dotted name of a package's module, from a misspelled source."""
    return place.endswith(".py") or ("." in place and all(part.isidentifier() for part in place.split(".")))


def pick_device(name: str) -> torch.device:
    """Turn a device's name into the device; ``auto`` is the best that this machine has.

    Raises:
        OptionError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {name!r} is not there ({str(error).splitlines()[0]})") from None
    return device
