"""The page of a run: one file that opens from disk, asks nobody else for anything, and shows what there is.

It is written a frame at a time. What frames have in common stands in it once, at its end; of each frame it holds what
differs, as JSON that is read only when the frame is chosen.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from layerscope.sinks.tiles import PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from layerscope.sinks.manifest import ChannelRecord, FrameRecord, LayerRecord, Manifest

__all__ = ["write_page"]

PARTS = Path(__file__).with_name("page")
SCRIPTS = ("data.js", "lists.js", "stage.js", "main.js")
"""One script in its reading order: pages from disk cannot load modules."""

DIGITS = 4
"""Significant digits of numbers."""


def write_page(path: Path, head: Manifest, frames: Iterable[FrameRecord]) -> None:
    """Write a run's page; equal runs give equal bytes.

    Args:
        path: The file, in the run's folder: the page looks for pictures beside itself. It is not whole before this
            returns.
        head: The run's manifest; its own frames do not matter.
        frames: The frames in order, each needed only while it is written.
    """
    begin, end = _part("template.html").split("{{frames}}")
    fields = _fields(head)
    common: dict[bytes, int] = {}
    series = {
        kind: {layer: file for layer, file in files.items() if file != path.name} for kind, files in head.series.items()
    }
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(_fill(begin, fields))
        stream.writelines(_frame(frame, common) for frame in frames)
        run = _json({"series": series, "layers": [msgspec.Raw(layer) for layer in common]})
        stream.write(_fill(end, {**fields, "run": run}))


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _fill(template: str, fields: dict[str, str]) -> str:
    """Put texts, already escaped, in their places; what looks like a place within a text is none."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], template)


def _fields(head: Manifest) -> dict[str, str]:
    """Give what the template has places for, its frames left out."""
    style = _part("style.css")
    script = "\n".join(map(_part, SCRIPTS))
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in _facts(head))
    unread = "".join(f"<li><b>{escape(name)}</b> {escape(why)}</li>" for name, why in head.failures.items())
    failures = f"<details><summary>{len(head.failures)} could not be read</summary><ul>{unread}</ul></details>"
    return {
        "policy": escape(_policy(style, script)),
        "title": escape(f"{head.network.source} · Layerscope"),
        "version": escape(head.layerscope),
        "facts": facts,
        "failures": failures if unread else "",
        "style": style,
        "script": script,
    }


def _policy(style: str, script: str) -> str:
    """Allow this very style and script, pictures and videos beside the page, and nothing else."""
    beside = "'self' file: data:"
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"img-src {beside}; media-src {beside}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _facts(head: Manifest) -> Iterator[tuple[str, str]]:
    """Say what ran, and how its values became pixels."""
    yield "Network", head.network.source
    yield "Weights", head.network.weights
    how = head.preparation
    if how is not None:
        size = f"{how.size_hw[0]} × {how.size_hw[1]}"
        yield "Input", f"{size}, {how.resize}, {how.order.upper()}, {how.range.replace('-', ' to ')}"
        if how.mean is not None:
            yield "Mean", ", ".join(map(_number, how.mean))
        if how.std is not None:
            yield "Std", ", ".join(map(_number, how.std))
    yield "Scale", head.render.scale
    if head.render.colormap.keys() & {"overlays", "reductions"}:
        yield "Reduced by", head.render.reduce
    maps: dict[str, list[str]] = {}
    for kind, name in head.render.colormap.items():
        maps.setdefault(name, []).append(kind)
    if maps:
        yield "Colours", "; ".join(f"{name} ({', '.join(kinds)})" for name, kinds in maps.items())


def _frame(frame: FrameRecord, common: dict[bytes, int]) -> str:
    """Write a frame: what its row in the list shows as attributes, the rest as JSON."""
    shown = {
        "name": frame.name,
        "time": None if frame.time_s is None else _number(frame.time_s, digits=7),
        "picture": frame.picture if frame.picture is None else f"{frame.folder}/{frame.picture}",
    }
    attributes = "".join(f' data-{name}="{escape(value)}"' for name, value in shown.items() if value is not None)
    record = {
        "folder": frame.folder,
        "file": frame.file,
        "size": frame.placement.frame_hw,
        "outputs": frame.outputs,
        "silent": frame.silent,
        "layers": [_layer(layer, common) for layer in frame.layers],
    }
    return f'<script type="application/json"{attributes}>{_json(record)}</script>\n'


def _layer(layer: LayerRecord, common: dict[bytes, int]) -> dict[str, Any]:
    """Describe what a layer gave for one frame; what is the same in most frames goes into ``common``."""
    packed = layer.tiles is not None and layer.tiles.startswith(f"{PACKED}/")  # which no page can look into
    same = {
        "name": layer.layer,
        "shape": layer.shape,
        "dtype": layer.dtype.removeprefix("torch."),
        "kind": layer.kind,
        "cells": layer.cells,
        "apart": layer.apart,
        "count": len(layer.channels.constant) if layer.channels else 0,
        "tiles": None if packed else layer.tiles,
        "files": layer.files | ({PACKED: PACKED} if packed else {}),
    }
    return {
        "at": common.setdefault(msgspec.json.encode(same), len(common)),
        "min": msgspec.Raw(_number(layer.min)),
        "max": msgspec.Raw(_number(layer.max)),
        **(_channels(layer.channels) if layer.channels else {}),
    }


def _channels(channels: ChannelRecord) -> dict[str, Any]:
    """Describe a layer's channels as columns, without what follows from the others."""
    columns: dict[str, Any] = {
        "lows": _column(channels.min),
        "highs": _column(channels.max),
        "means": _column(channels.mean),
        "zeros": _column(channels.zeros),
    }
    constant = [index for index, same in enumerate(channels.constant) if same]
    infinite = [index for index, finite in enumerate(channels.finite) if not finite]
    columns |= {name: indices for name, indices in (("constant", constant), ("infinite", infinite)) if indices}
    if channels.black != channels.min:
        columns["black"] = _column(channels.black)
    if channels.white != channels.max:
        columns["white"] = _column(channels.white)
    return columns


def _column(values: Sequence[float | None]) -> msgspec.Raw:
    """Write numbers as JSON; one alone where all are the same."""
    texts = [_number(value) for value in values]
    return msgspec.Raw(texts[0] if len(set(texts)) == 1 else f"[{','.join(texts)}]")


def _number(value: float | None, digits: int = DIGITS) -> str:
    """Write a number as JSON with as many significant digits as are shown."""
    return "null" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def _json(value: Any) -> str:
    """Write JSON that cannot end the element that it stands in."""
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")
