"""What holds all frames of a run: each kind against an independent reader, and against the plain sinks."""

from __future__ import annotations

import importlib
import io
import json
import textwrap
import warnings
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import zarr
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import layerscope as ls
from kill import digest
from layerscope.errors import LayerError, OptionError, RunFolderError
from layerscope.inputs import find_inputs
from layerscope.sinks import gathered
from layerscope.sinks.journal import FOLDER

if TYPE_CHECKING:
    from layerscope.hooks import FeatureMap

LAYERS = ["backbone.block1", "backbone.block3"]
EVERYTHING = ["tiles", "sheets", "zarr", "video", "webp", "tensorboard", "html"]


@pytest.fixture(scope="module")
def net() -> ls.Network:
    return ls.load("demo", device="cpu", size=64)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush often, so that a few frames go over several flushes."""
    monkeypatch.setattr(gathered, "FLUSH_EVERY", 4)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Eleven pictures in which a bright bar goes right, at times that are not even."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, at_ms in enumerate((0, 40, 80, 200, 240, 280, 320, 360, 400, 440, 500)):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[:, index * 5 : index * 5 + 5] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frames_of(path: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(path)) as container:
        shown = list(container.decode(video=0))
    return [float(frame.pts * frame.time_base) for frame in shown], [
        frame.to_ndarray(format="rgb24") for frame in shown
    ]


def captured(net: ls.Network, clip: Path) -> list[dict[str, FeatureMap]]:
    return [ls.capture(net, read(), layers=LAYERS) for _, read in find_inputs(clip)[0].frames()]


# Values.


def test_zarr_holds_what_capture_gives_bit_for_bit_and_any_program_reads_it(net: ls.Network, clip: Path) -> None:
    run = ls.run(net, clip, layers=LAYERS, write=["zarr"], fold=False)
    store = zarr.open_group("featuremap/values.zarr", mode="r")
    assert sorted(store) == ["backbone_block1", "backbone_block3"]
    for row, (name, maps) in enumerate(zip(run, captured(net, clip), strict=True)):
        assert run[name].record.row == row
        for layer, feature_map in maps.items():
            values = feature_map.values.numpy()
            assert np.array_equal(run[name][layer].values, values)
            array = store[f"{layer.replace('.', '_')}/values"]
            assert np.array_equal(array[row], values)
            assert store[layer.replace(".", "_")].attrs["layer"] == layer
            assert array.metadata.dimension_names == ("frame", "channel", "y", "x")
            assert array.shape == (11, *values.shape)
            assert array.chunks == (1, *values.shape)


def test_zarr_in_half_precision_and_in_eight_bits(net: ls.Network, clip: Path) -> None:
    truth = captured(net, clip)
    half = ls.run(net, clip, out="half", layers=LAYERS, write=["zarr"], tensor_type="f16", fold=False)
    eight = ls.run(net, clip, out="eight", layers=LAYERS, write=["zarr"], tensor_type="q8", fold=False)
    for name, maps in zip(half, truth, strict=True):
        for layer, feature_map in maps.items():
            values = feature_map.values.numpy()
            assert np.array_equal(half[name][layer].values, values.astype(np.float16).astype(np.float32))
            step = np.ptp(values, axis=(1, 2)).reshape(-1, 1, 1) / 255
            assert np.all(np.abs(eight[name][layer].values - values) <= step * 0.51 + 1e-6)
    assert zarr.open_array("eight/values.zarr/backbone_block1/values", mode="r").dtype == np.uint8
    assert zarr.open_array("half/values.zarr/backbone_block1/values", mode="r").dtype == np.float16


def test_large_layers_have_few_frames_in_a_shard(net: ls.Network, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerscope.sinks.zarr_store.SHARD_BYTES", 16 * 32 * 32 * 4 * 2)
    run = ls.run(net, clip, layers=LAYERS, write=["zarr"], fold=False)
    store = zarr.open_group("featuremap/values.zarr", mode="r")
    assert store["backbone_block1/values"].shards[0] == 2
    assert store["backbone_block3/values"].shards[0] == 8
    for name, maps in zip(run, captured(net, clip), strict=True):
        assert all(np.array_equal(run[name][layer].values, maps[layer].values.numpy()) for layer in LAYERS)


def test_frames_of_one_shard_may_come_in_several_flushes(net: ls.Network, clip: Path) -> None:
    ls.run(net, clip, out="whole", layers=LAYERS, write=["zarr"])

    def stop(progress: object) -> None:
        if progress.frames >= 9:  # type: ignore[attr-defined]
            raise StopError

    with pytest.raises(StopError):
        ls.run(net, clip, out="out", layers=LAYERS, write=["zarr"], progress=stop)
    ls.run(net, clip, out="out", layers=LAYERS, write=["zarr"], resume=True)
    assert digest(Path("out")) == digest(Path("whole"))
    whole = zarr.open_array("whole/values.zarr/backbone_block1/values", mode="r")
    assert whole.shards[0] == 32
    assert all(np.any(frame) for frame in whole[:])


def test_values_that_cannot_be_kept_together_are_refused_in_a_line(clip: Path, tmp_path: Path) -> None:
    code = """
        import torch
        class Net(torch.nn.Module):
            def __init__(self, kind):
                super().__init__()
                self.kind, self.part, self.seen = kind, torch.nn.Identity(), 0
            def forward(self, x):
                self.seen += 1
                return self.part(x[..., self.seen:] if self.kind == "shape" else x * 1e6)
    """
    path = tmp_path / "net.py"
    path.write_text(textwrap.dedent(code))
    shrinking = ls.load(f"{path}:Net", arguments={"kind": "shape"}, device="cpu", size=32)
    loud = ls.load(f"{path}:Net", arguments={"kind": "loud"}, device="cpu", size=32)
    with pytest.raises(LayerError, match=r"part: gave shape \(3, 32, 30\) for clip-0*1, \(3, 32, 31\) before"):
        ls.run(shrinking, clip, out="a", layers="part", write=["zarr"])
    with pytest.raises(LayerError, match=r"part: holds values beyond 65504.*f32"):
        ls.run(loud, clip, out="b", layers="part", write=["zarr"], tensor_type="f16")


@pytest.mark.parametrize("rows", [32, 2, 1])
def test_a_layer_that_does_not_always_run_has_the_rows_in_which_it_did(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr("layerscope.sinks.zarr_store.SHARD_BYTES", rows * 3 * 32 * 32 * 4)
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.always, self.odd, self.seen = torch.nn.Identity(), torch.nn.Identity(), -1\n"
        "    def forward(self, x):\n"
        "        self.seen += 1\n"
        "        return self.odd(x + self.seen) if self.seen % 2 else self.always(x)\n"
    )
    net = ls.load(f"{path}:Net", device="cpu", size=32)
    net.module.seen = -1  # type: ignore[assignment]
    with warnings.catch_warnings(action="ignore", category=ls.LayerscopeWarning):
        run = ls.run(net, clip, layers=["*"], write=["zarr", "webp", "video"], fold=False)
    for row, name in enumerate(run):
        (layer,) = (layer for layer in run[name] if layer in ("always", "odd"))
        assert layer == ("odd" if row % 2 else "always")
        assert run[name][layer].values.min() >= (row if row % 2 else 0)
    times, _ = frames_of(Path("featuremap/video/sheets/odd.mp4"))
    assert times == pytest.approx([0.04, 0.2, 0.28, 0.36, 0.44], abs=1e-3)
    for own, layer in enumerate(("always", "odd")):
        values = zarr.open_array(f"featuremap/values.zarr/{layer}/values", mode="r")
        assert values.shards[0] == rows
        assert [bool(frame.any()) for frame in values[:]] == [row % 2 == own for row in range(11)]


def test_a_store_that_is_damaged_or_gone_is_named(net: ls.Network, clip: Path) -> None:
    run = ls.run(net, clip, layers=LAYERS, write=["zarr"])
    store = Path("featuremap/values.zarr/backbone_block1")
    (store / "values" / "zarr.json").write_text("{")
    with pytest.raises(RunFolderError, match="backbone_block1: cannot be read"):
        run["clip-000000"]["backbone.block1"].values  # noqa: B018


# Moving pictures.


def test_a_video_shows_each_frames_sheet_at_its_own_time(net: ls.Network, clip: Path) -> None:
    run = ls.run(net, clip, layers=LAYERS, write=["sheets", "overlays", "video"], view=["sheets", "overlays", "5"])
    for view, kind in (("sheets", "sheets"), ("overlays", "overlays")):
        times, shown = frames_of(Path(f"featuremap/video/{view}/backbone_block3.mp4"))
        assert times == pytest.approx([0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.32, 0.36, 0.4, 0.44, 0.5], abs=1e-4)
        for name, picture in zip(run, shown, strict=True):
            truth = np.asarray(run[name]["backbone.block3"].picture(kind).convert("RGB")).astype(float)
            height, width = truth.shape[:2]
            assert np.abs(picture[:height, :width] - truth).mean() < 6
            # It is this frame's and no other's: nearer to it than to the others.
            others = [np.asarray(run[other]["backbone.block3"].picture(kind).convert("RGB")) for other in run]
            distances = [np.abs(picture[:height, :width] - other.astype(float)).mean() for other in others]
            assert list(run)[int(np.argmin(distances))] == name
    _, shown = frames_of(Path("featuremap/video/channel5/backbone_block1.mp4"))
    assert len(shown) == 11
    assert run.head.series["video/channel5"]["backbone.block1"] == "video/channel5/backbone_block1.mp4"


def test_a_part_of_a_video_keeps_the_distances_of_its_frames(net: ls.Network, clip: Path) -> None:
    ls.run(net, clip, layers=LAYERS, write=["video"], every=3)
    times, _ = frames_of(Path("featuremap/video/sheets/backbone_block1.mp4"))
    assert times == pytest.approx([0, 0.2, 0.32, 0.44], abs=1e-4)


def test_pictures_follow_one_another_at_the_rate_that_is_asked(net: ls.Network, tmp_path: Path) -> None:
    for index in range(3):
        Image.new("RGB", (40 + 20 * index, 40), (80 * index,) * 3).save(tmp_path / f"p{index}.png")
    ls.run(net, tmp_path, layers=LAYERS, write=["video", "webp"], view="overlays", fps=5)
    times, shown = frames_of(Path("featuremap/video/overlays/backbone_block1.mp4"))
    assert times == pytest.approx([0, 0.2, 0.4], abs=1e-4)
    assert {frame.shape for frame in shown} == {(40, 40, 3)}, "the first one's size; the others are cut to it"
    with Image.open("featuremap/webp/overlays/backbone_block1.webp") as moving:
        assert moving.size == (80, 40)
        assert [frame.convert("RGB") and frame.info["duration"] for frame in ImageSequence.Iterator(moving)] == [
            200,
            200,
            200,
        ]


def test_an_animated_webp_is_its_still_pictures(net: ls.Network, clip: Path) -> None:
    run = ls.run(net, clip, layers=LAYERS, write=["sheets", "webp"])
    with Image.open("featuremap/webp/sheets/backbone_block1.webp") as moving:
        shown = [(frame.convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(moving)]
    assert [duration for _, duration in shown] == [40, 40, 120, 40, 40, 40, 40, 40, 40, 60, 60]
    for name, (picture, _) in zip(run, shown, strict=True):
        stream = io.BytesIO()
        run[name]["backbone.block1"].picture().convert("RGB").save(stream, "WEBP", quality=85, method=2)
        with Image.open(stream) as still:
            assert np.array_equal(np.asarray(picture), np.asarray(still.convert("RGB")))


def test_wrong_views_and_rates_are_refused(net: ls.Network, clip: Path) -> None:
    with pytest.raises(OptionError, match=r"view 'sheet'.*did you mean 'sheets'"):
        ls.run(net, clip, write=["video"], view="sheet")
    with pytest.raises(OptionError, match="fps: expected"):
        ls.run(net, clip, write=["video"], fps=0)
    with pytest.raises(OptionError, match=r"write 'vidio'.*did you mean 'video'"):
        ls.run(net, clip, write=["vidio"])
    assert not Path("featuremap").exists()


# TensorBoard and the page.


def test_tensorboard_reads_the_sheets_and_the_numbers(net: ls.Network, clip: Path) -> None:
    run = ls.run(net, clip, layers=LAYERS, write=["sheets", "tensorboard"])
    read = EventAccumulator("featuremap/tensorboard", size_guidance={"images": 0, "scalars": 0})
    read.Reload()
    for row, name in enumerate(run):
        layer = run[name]["backbone.block3"]
        image = read.Images("sheets/backbone.block3")[row]
        with Image.open(io.BytesIO(image.encoded_image_string)) as shown:
            assert np.array_equal(np.asarray(shown), np.asarray(layer.picture()))
            assert (image.width, image.height) == shown.size
        assert image.step == row
        assert read.Scalars("backbone.block3/max")[row].value == pytest.approx(layer.record.max)
        assert read.Scalars("backbone.block3/zeros")[row].value == pytest.approx(np.mean(layer.record.channels.zeros))


def test_the_page_lies_beside_the_pictures_that_it_shows(net: ls.Network, clip: Path) -> None:
    run = ls.run(net, clip, layers=LAYERS, write=["sheets", "video", "html"])
    assert run.head.series["html"] == {"": "index.html"}
    page = Path("featuremap/index.html").read_text()
    assert "video/sheets/backbone_block3.mp4" in page
    for name in run:
        record = run[name].record
        with Image.open(run[name].folder / record.picture) as picture:
            assert picture.size == (64, 48)


# Tiles in one file.


@pytest.mark.parametrize("tile_format", ["jpg", "png"])
def test_packed_tiles_are_the_tiles(net: ls.Network, clip: Path, tile_format: str) -> None:
    plain = ls.run(net, clip, out="plain", layers=LAYERS, write=["tiles"], tile_format=tile_format, frames=3)
    packed = ls.run(
        net, clip, out="packed", layers=LAYERS, write=["tiles"], tile_format=tile_format, frames=3, pack="zip"
    )
    for name in plain:
        with zipfile.ZipFile(packed[name].folder / "tiles.zip") as archive:
            assert archive.testzip() is None
            inside = {entry.filename: archive.read(entry) for entry in archive.infolist()}
            assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        files = {
            path.relative_to(plain[name].folder).as_posix(): path.read_bytes()
            for path in plain[name].folder.rglob("out*")
        }
        assert inside == files
        assert [path.name for path in packed[name].folder.iterdir()] == ["tiles.zip"]
        layer = packed[name]["backbone.block3"]
        assert np.array_equal(np.asarray(layer.tile(5)), np.asarray(plain[name]["backbone.block3"].tile(5)))
        assert layer.paths == [packed[name].folder / "tiles.zip"]
    assert "3 pictures" in repr(packed)
    with pytest.raises(OptionError, match="pack 'tar'"):
        ls.run(net, clip, out="other", pack="tar")


# Nothing lost.


class StopError(Exception):
    """Raised by a test in the middle of a run."""


@pytest.mark.parametrize(("after", "batch"), [(1, 1), (6, 1), (6, 3), (8, 3), (11, 1)])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    net: ls.Network, clip: Path, after: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"layers": LAYERS, "write": EVERYTHING, "batch": batch, "view": ["sheets", "3"], "pack": "zip"}
    ls.run(net, clip, out="whole", **options)  # type: ignore[arg-type]

    def stop(progress: object) -> None:
        if progress.frames >= after:  # type: ignore[attr-defined]
            raise StopError

    with pytest.raises(StopError):
        ls.run(net, clip, out="out", progress=stop, **options)  # type: ignore[arg-type]
    ls.run(net, clip, out="out", resume=True, **options)  # type: ignore[arg-type]
    assert digest(Path("out")) == digest(Path("whole"))


ENDS = [
    *[("movies", "_join_mp4", 2), ("movies", "_join_webp", 1), ("html", "write_page", 1)],
    # Of two arrays: their beginnings, then length and group of each, then the whole store's group.
    *[("zarr_store", "write_whole", at) for at in range(3, 8)],
]


@pytest.mark.parametrize(("module", "failing", "at"), ENDS)
def test_a_run_that_is_stopped_while_it_is_put_together_goes_on(
    net: ls.Network, clip: Path, module: str, failing: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"layers": LAYERS, "write": ["video", "webp", "html", "zarr"]}
    ls.run(net, clip, out="whole", **options)  # type: ignore[arg-type]
    place = importlib.import_module(f"layerscope.sinks.{module}")
    true, calls = getattr(place, failing), []

    def fail(*arguments: object) -> object:
        calls.append(1)
        result = true(*arguments)
        if len(calls) == at:
            raise StopError  # as if killed when the file is there, and not yet in its place
        return result

    monkeypatch.setattr(place, failing, fail)
    with pytest.raises(StopError):
        ls.run(net, clip, out="out", **options)  # type: ignore[arg-type]
    assert not Path("out/manifest.json").exists()
    ls.run(net, clip, out="out", resume=True, **options)  # type: ignore[arg-type]
    assert digest(Path("out")) == digest(Path("whole"))


def test_a_run_that_is_stopped_before_its_manifest_goes_on(
    net: ls.Network, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"layers": LAYERS, "write": ["zarr", "video", "html"]}
    ls.run(net, clip, out="whole", **options)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr("layerscope.sinks.journal.manifest_text", lambda *_: (_ for _ in ()).throw(StopError()))
        with pytest.raises(StopError):
            ls.run(net, clip, out="out", **options)  # type: ignore[arg-type]
    assert Path("out/values.zarr").is_dir()
    ls.run(net, clip, out="out", resume=True, **options)  # type: ignore[arg-type]
    assert digest(Path("out")) == digest(Path("whole"))


def test_only_whole_things_carry_their_names_and_overwriting_takes_all_away(net: ls.Network, clip: Path) -> None:
    def stop(progress: object) -> None:
        if progress.frames >= 6:  # type: ignore[attr-defined]
            raise StopError

    with pytest.raises(StopError):
        ls.run(net, clip, layers=LAYERS, write=EVERYTHING, progress=stop)
    shown = {path.name for path in Path("featuremap").iterdir()}
    assert all(name.startswith("clip-") or name == FOLDER for name in shown)
    ls.run(net, clip, layers=LAYERS, write=EVERYTHING, overwrite=True)
    ls.run(net, clip, layers=LAYERS, write=["sheets"], frames=1, overwrite=True)
    assert {path.name for path in Path("featuremap").iterdir()} == {"clip-000000", "manifest.json"}


def test_a_single_picture_can_have_them_all(net: ls.Network, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "dog.png")
    run = ls.run(net, tmp_path / "dog.png", layers=LAYERS, write=EVERYTHING, pack="zip")
    truth = ls.capture(net, tmp_path / "dog.png", layers=LAYERS)
    assert run["dog"]["backbone.block3"].values == pytest.approx(truth["backbone.block3"].values.numpy(), abs=1e-3)
    assert Path("featuremap/index.html").exists()
    assert json.loads(Path("featuremap/manifest.json").read_text())["series"]["video/sheets"]


def test_frames_that_are_called_like_a_runs_own_files_step_aside(net: ls.Network, tmp_path: Path) -> None:
    for name in ("video", "dog"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"{name}.png")
    run = ls.run(net, tmp_path, layers=LAYERS, write=["sheets", "video"])
    assert run["video"].folder == Path("featuremap/video_")
    assert run["video"]["backbone.block1"].picture().size
