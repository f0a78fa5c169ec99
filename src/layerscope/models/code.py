"""Your own code as a source: ``FILE.py:NAME`` and ``package.module:NAME``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from layerscope.errors import SourceError, nearest
from layerscope.inputs import Preparation
from layerscope.models.class_names import class_names
from layerscope.models.network import Network

if TYPE_CHECKING:
    from types import ModuleType

    from layerscope.models.request import Request

__all__ = ["load_code"]

DEFAULT_SIZE_HW = (224, 224)


def load_code(request: Request) -> Network:
    """Load ``FILE.py:NAME`` or ``package.module:NAME``.

    NAME is a module, or a class or function that gives one, called with the request's keywords; it may also be a
    ``Network`` or give one, which then knows its own preparation. A file's folder, and for packages the current
    folder, is where it imports from, as under ``python FILE.py``.

    Raises:
        SourceError: There is no such file or name, the code fails, or what it gives is no network.
    """
    request.refuse_official()
    place, _, name = request.argument.rpartition(":")
    with request.seeded():  # modules may be made as the file runs
        code = _run_file(Path(place)) if place.endswith(".py") else _import(place)
    thing: Any = code
    for part in name.split("."):
        if not hasattr(thing, part):
            choices = [one for one in vars(code) if not one.startswith("_")]
            raise SourceError(f"{place} has no {name!r}{nearest(name, choices)}")
        thing = getattr(thing, part)
    if not isinstance(thing, nn.Module | Network):
        thing = _build(thing, request)
    else:
        request.refuse_arguments()
    if isinstance(thing, Network):
        thing.source = request.source
        if request.file is not None:
            thing.weights = request.fill(thing.module)
        return thing
    if not isinstance(thing, nn.Module):
        raise SourceError(f"{request.source}: expected a torch.nn.Module, or what builds one, got {_kind(thing)}")
    report = request.fill(thing, own="as the code gives them")
    return Network(
        source=request.source,
        module=thing,
        preparation=Preparation(size_hw=request.size or DEFAULT_SIZE_HW),
        weights=report,
        names=class_names(request.classes or 0),
    )


def _run_file(path: Path) -> ModuleType:
    """Run a file as a module; its own folder comes first where it imports from."""
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem if path.stem.isidentifier() else "layerscope_source"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    if known is not None:  # a module of this name is in use: the file's own must not take its place
        name = f"layerscope_source_{abs(hash(str(path.resolve())))}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise SourceError(f"{path}: cannot be run as Python")
    code = importlib.util.module_from_spec(spec)
    sys.modules[name] = code
    try:
        spec.loader.exec_module(code)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise _failed(str(path), error) from error
    return code


def _import(place: str) -> ModuleType:
    folder = os.getcwd()  # noqa: PTH109 - what Python itself puts first
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise SourceError(f"{place}: there is no such module; a file is FILE.py:NAME") from None
        raise _failed(place, error) from error
    except Exception as error:
        raise _failed(place, error) from error


def _build(maker: Any, request: Request) -> Any:
    if not callable(maker):
        raise SourceError(f"{request.source}: expected a torch.nn.Module, or what builds one, got {_kind(maker)}")
    try:
        with request.seeded():
            return maker(**request.arguments)
    except Exception as error:
        raise _failed(request.source, error) from error


def _failed(place: str, error: Exception) -> SourceError:
    text = " ".join(str(error).split())
    line = error.__traceback__
    while line is not None and line.tb_next is not None:
        line = line.tb_next
    where = f", {Path(line.tb_frame.f_code.co_filename).name} line {line.tb_lineno}" if line is not None else ""
    return SourceError(f"{place}: fails with {type(error).__name__}: {text[:300]}{where}")


def _kind(thing: object) -> str:
    return f"a {type(thing).__name__}"
