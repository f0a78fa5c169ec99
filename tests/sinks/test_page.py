"""The page of a run: what it says is what the manifest says, in a form that no name can break out of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import layerscope as ls
from layerscope.sinks.manifest import FrameRecord, LayerRecord, Manifest
from layerscope.sinks.page import write_page

NASTY = "a & \"b\" 'c' <d> </script><!-- %20 #e? ü 日本 {{run}} \\u003c"


class Page(HTMLParser):
    """What an independent reader finds in a page: tags with their attributes, and the text of styles and scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, dict[str, str | None], str]] = []
        self.words = ""
        self._open: tuple[str, dict[str, str | None]] | None = None
        self.feed(path.read_bytes().decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside.append((*self._open, data))
            self._open = None
        else:
            self.words += data

    def texts(self, tag: str, kind: str | None = None) -> list[str]:
        return [text for name, attributes, text in self.inside if name == tag and attributes.get("type") == kind]

    @property
    def data(self) -> list[tuple[dict[str, str | None], Any]]:
        return [(has, json.loads(text)) for tag, has, text in self.inside if has.get("type") == "application/json"]

    @property
    def frames(self) -> list[tuple[dict[str, str | None], Any]]:
        return [(has, value) for has, value in self.data if "data-name" in has]

    @property
    def run(self) -> Any:
        return next(value for has, value in self.data if has.get("id") == "run")


@pytest.fixture
def odd(tiny: ls.Network) -> ls.Network:
    """The small detector, its layer 3 with a dead channel, one of NaN and a constant one."""
    norm = next(
        module for name, module in tiny.module.named_modules() if name.startswith("3_") and hasattr(module, "eps")
    )
    norm.weight.data[[1, 3]] = 0.0
    norm.bias.data[1], norm.bias.data[3] = -9.0, 2.5
    norm.weight.data[2] = float("nan")
    return tiny


@pytest.fixture
def run(odd: ls.Network, photo: np.ndarray) -> ls.Run:
    pictures = [photo, photo[::-1].copy(), photo[:, ::-1].copy()]
    return ls.run(odd, pictures, layers=["2_shortcut", "3_*"], write=["tiles", "sheets", "tensors"], out="run")


def written(run: ls.Run, **changes: Any) -> Page:
    write_page(Path("page.html"), msgspec.structs.replace(run.head, **changes), run.manifest.frames)
    return Page(Path("page.html"))


def columns(layer: dict[str, Any], count: int) -> dict[str, list[float | None]]:
    """Spread a layer's columns out again."""
    full = {"black": layer["lows"], "white": layer["highs"], **layer}
    names = ("lows", "highs", "means", "zeros", "black", "white")
    return {name: full[name] if isinstance(full[name], list) else [full[name]] * count for name in names}


def close(shown: list[float | None], true: list[float | None]) -> bool:
    return all(
        (one is None and other is None) or one == pytest.approx(other, rel=5.1e-4)
        for one, other in zip(shown, true, strict=True)
    )


@pytest.mark.parametrize("scale", ["channel", "layer", "percentile", "symmetric", "unit"])
def test_a_page_holds_every_number_of_the_manifest_to_four_digits(
    odd: ls.Network, photo: np.ndarray, scale: str
) -> None:
    run = ls.run(odd, [photo, photo[::-1].copy()], layers="all", scale=scale, write=["sheets"], out="run")
    page = written(run)
    common = page.run["layers"]
    assert [has["data-name"] for has, _ in page.frames] == list(run)
    for (_, shown), frame in zip(page.frames, run.manifest.frames, strict=True):
        assert (shown["folder"], shown["file"], shown["silent"]) == (frame.folder, frame.file, frame.silent)
        assert shown["outputs"] == frame.outputs
        assert tuple(shown["size"]) == frame.placement.frame_hw
        for layer, record in zip(shown["layers"], frame.layers, strict=True):
            same = common[layer["at"]]
            assert (same["name"], same["shape"], same["kind"]) == (record.layer, record.shape, record.kind)
            assert (same["files"], same["tiles"], same["cells"]) == (record.files, record.tiles, record.cells)
            assert close([layer["min"], layer["max"]], [record.min, record.max])
            channels = record.channels
            assert channels is not None
            assert same["count"] == len(channels.min)
            full = columns(layer, len(channels.min))
            assert close(full["lows"], channels.min)
            assert close(full["highs"], channels.max)
            assert close(full["means"], channels.mean)
            assert close(full["zeros"], channels.zeros)
            assert close(full["black"], channels.black)
            assert close(full["white"], channels.white)
            assert layer.get("constant", []) == list(np.flatnonzero(channels.constant))
            assert layer.get("infinite", []) == list(np.flatnonzero(np.logical_not(channels.finite)))


def test_what_frames_have_in_common_is_written_once(run: ls.Run) -> None:
    page = written(run)
    names = [layer["name"] for layer in page.run["layers"]]
    assert names == list(run["frame"])
    assert len(page.frames) == 3
    assert "5_shortcut" not in json.dumps(page.frames)


def test_a_layer_whose_shape_changes_between_frames_keeps_both(run: ls.Run) -> None:
    first, second, _ = run.manifest.frames
    layer = second.layers[0]
    grown = msgspec.structs.replace(layer, shape=[*layer.shape[:-1], 99])
    frames = [first, msgspec.structs.replace(second, layers=[grown, *second.layers[1:]])]
    write_page(Path("page.html"), run.head, frames)
    page = Page(Path("page.html"))
    shapes = [page.run["layers"][value["layers"][0]["at"]]["shape"] for _, value in page.frames]
    assert shapes == [layer.shape, grown.shape]


def test_a_page_says_which_network_ran_and_how(run: ls.Run) -> None:
    words = " ".join(written(run, failures={"x<y": "is <no> picture"}).words.split())
    weights = run.head.network.weights
    for part in (
        run.head.network.source,
        weights,
        "64 × 64, stretch, RGB, 0 to 1",
        "x<y is <no> picture",
        "1 could not",
    ):
        assert part in words, part


def test_the_times_of_a_video_and_the_copies_of_pictures_are_the_frames_own(run: ls.Run) -> None:
    frames = [
        msgspec.structs.replace(frame, time_s=3600 + index / 25, picture="pic ture.jpg")
        for index, frame in enumerate(run.manifest.frames)
    ]
    write_page(Path("page.html"), run.head, frames)
    for (has, _), frame in zip(Page(Path("page.html")).frames, frames, strict=True):
        assert float(has["data-time"] or "") == frame.time_s
        assert has["data-picture"] == f"{frame.folder}/pic ture.jpg"


@settings(max_examples=60, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.just(NASTY))
def test_no_name_breaks_out_of_the_page(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("page") / "index.html"
    write_page(path, head_of(name), [frame_of(name, layer=name)])
    page = Page(path)
    assert [has["data-name"] for has, _ in page.frames] == [name]
    assert page.run["layers"][0]["name"] == name
    assert page.run["series"] == {"video": {name: f"{name}.mp4"}}
    assert page.frames[0][1]["folder"] == name
    write_page(path, head_of("plain"), [frame_of("plain", layer="plain")])
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in Page(path).tags]


def head_of(name: str) -> Manifest:
    return msgspec.convert(
        {
            "version": 1,
            "layerscope": "0",
            "network": {"source": name, "weights": name, "weights_bytes": None, "bn_eps": None},
            "preparation": None,
            "render": {"scale": "channel", "colormap": {}, "reduce": "mean"},
            "frames": [],
            "series": {"video": {name: f"{name}.mp4"}},
            "failures": {name: name},
        },
        Manifest,
    )


def frame_of(name: str, layer: str) -> FrameRecord:
    record = LayerRecord(
        layer=layer, shape=[1], dtype="torch.float32", min=None, max=None, tiles=None, files={name: name}, channels=None
    )
    placement = {"frame_hw": (1, 1), "input_hw": (1, 1), "scale_xy": (1.0, 1.0), "offset_xy": (0.0, 0.0)}
    values = {"name": name, "file": name, "folder": name, "placement": placement, "outputs": [], "silent": [name]}
    return msgspec.convert({**values, "layers": [msgspec.to_builtins(record)]}, FrameRecord)


def test_two_equal_runs_give_equal_pages(odd: ls.Network, photo: np.ndarray) -> None:
    pages = []
    for out in ("one", "elsewhere/other"):
        run = ls.run(odd, [photo, photo[::-1].copy()], out=out)
        write_page(run.folder / "index.html", run.head, iter(run.manifest.frames))
        pages.append((run.folder / "index.html").read_bytes())
    assert pages[0] == pages[1]


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_from_elsewhere(run: ls.Run) -> None:
    page = written(run)
    policy = next(has["content"] for tag, has in page.tags if has.get("http-equiv") == "Content-Security-Policy")
    rules = {rule.split()[0]: rule.split()[1:] for rule in (policy or "").split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["img-src"] == rules["media-src"] == ["'self'", "file:", "data:"]
    for directive, texts in (("style-src", page.texts("style")), ("script-src", page.texts("script", "module"))):
        digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[directive] == [f"'sha256-{digest}'" for digest in digests]
        assert len(digests) == 1
    kinds = {has.get("type") for tag, has in page.tags if tag == "script"}
    assert kinds == {"application/json", "module"}


def test_nothing_in_a_page_points_elsewhere(run: ls.Run) -> None:
    page = written(run)
    text = Path("page.html").read_text()
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|WebSocket|import\(|innerHTML|eval\(", text)
    for tag, attributes in page.tags:
        assert not attributes.keys() & {"src", "srcset", "action", "style"}, tag
        assert attributes.get("href") in (None, "data:,")
        assert not any(name.startswith("on") for name in attributes), tag


def test_memory_does_not_grow_with_the_frames(run: ls.Run) -> None:
    def peak(count: int) -> int:
        frame = run.manifest.frames[0]
        names = (f"frame {index}" for index in range(count))
        tracemalloc.start()
        write_page(Path("page.html"), run.head, (msgspec.structs.replace(frame, name=name) for name in names))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(2)
    assert peak(2000) < peak(20) * 1.1


def test_a_hundred_frames_of_the_demo_network_take_less_than_a_megabyte() -> None:
    run = ls.run(ls.load("demo"), write=["sheets"], out="run")
    frames = run.manifest.frames
    for count in (3, 6):
        write_page(Path(f"{count}.html"), run.head, (frames * 2)[:count])
    frame_bytes = (Path("6.html").stat().st_size - Path("3.html").stat().st_size) / 3
    assert frame_bytes * 100 < 1_000_000


def test_a_run_without_frames_or_with_pictures_alone_gives_a_page(run: ls.Run, photo: np.ndarray) -> None:
    write_page(Path("empty.html"), run.head, [])
    assert Page(Path("empty.html")).frames == []
    Image.fromarray(photo).save("photo.png")
    alone = msgspec.structs.replace(run.manifest.frames[0], folder=".", row=None)
    write_page(Path("alone.html"), run.head, [alone])
    assert Page(Path("alone.html")).frames[0][1]["folder"] == "."


def test_a_page_does_not_list_itself(run: ls.Run) -> None:
    page = written(run, series={"html": {"": "page.html"}, "zarr": {"": "maps.zarr"}})
    assert page.run["series"] == {"html": {}, "zarr": {"": "maps.zarr"}}


def test_packed_tiles_are_a_file_to_open_and_no_pictures(odd: ls.Network, photo: np.ndarray) -> None:
    run = ls.run(odd, [photo, photo], write=["tiles", "sheets"], pack="zip", out="run")
    for layer in written(run).run["layers"]:
        assert layer["tiles"] is None
        assert layer["files"]["tiles.zip"] == "tiles.zip"
    assert (run["frame"].folder / "tiles.zip").is_file()
