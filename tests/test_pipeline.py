"""Whole runs: what is written, what the manifest says, and what is left after trouble."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import layerscope as ls
from layerscope.errors import (
    InputError,
    InputNotFoundError,
    LayerError,
    OptionError,
    OutputError,
    OutputExistsError,
    RunFolderError,
    UnknownLayerError,
)
from layerscope.models.network import Network
from layerscope.models.weights import WeightsReport
from layerscope.sinks.manifest import manifest_schema


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_one_picture_gives_the_recipes_layout(tiny: Network, photo: np.ndarray) -> None:
    run = ls.run(tiny, photo)
    assert run.folder == Path("featuremap")
    files = set(digest(run.folder))
    tiles = {f"2_shortcut/out{c}.jpg" for c in range(4)} | {f"5_shortcut/out{c}.jpg" for c in range(6)}
    assert files == {"manifest.json", "sheets/2_shortcut.png", "sheets/5_shortcut.png"} | tiles
    paths = [path for frame in run.values() for layer in frame.values() for path in layer.paths]
    assert {str(path.relative_to(run.folder)) for path in paths} == files - {"manifest.json"}


@pytest.mark.parametrize("scale", ["channel", "layer", "percentile", "symmetric", "unit"])
def test_tile_n_is_channel_n(tiny: Network, photo: np.ndarray, scale: str) -> None:
    maps = ls.capture(tiny, photo)
    run = ls.run(tiny, photo, write=["tiles"], scale=scale, tile_format="png", colormap="grey")
    for layer, feature_map in maps.items():
        expected = feature_map.scaled(scale).bytes.numpy()
        for channel in range(feature_map.channels):
            assert np.array_equal(np.asarray(run["frame"][layer].tile(channel)), expected[channel])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("colormap", [None, "inferno"])
def test_every_format_decodes_to_about_the_same_pixels(
    tiny: Network, photo: np.ndarray, suffix: str, colormap: str | None
) -> None:
    run = ls.run(tiny, photo, write=["tiles"], tile_format=suffix, colormap=colormap, out=suffix)
    exact = ls.run(tiny, photo, write=["tiles"], tile_format="png", colormap=colormap, out="exact")
    for channel in range(6):
        tile = run["frame"]["5_shortcut"].tile(channel)
        assert tile.mode == ("RGB" if colormap or suffix == "webp" else "L")
        pair = (tile, exact["frame"]["5_shortcut"].tile(channel))
        one, other = (np.asarray(image.convert("RGB")).astype(int) for image in pair)
        assert np.abs(one - other).mean() <= (4 if suffix == "jpg" else 0)


def test_the_manifest_tells_every_channels_numbers(tiny: Network, photo: np.ndarray) -> None:
    run = ls.run(tiny, photo, scale="symmetric")
    jsonschema.validate(json.loads((run.folder / "manifest.json").read_text()), manifest_schema())
    assert run.manifest.version == 1
    for layer, feature_map in ls.capture(tiny, photo).items():
        record, values = run["frame"][layer].record, feature_map.values.numpy()
        assert record.shape == list(values.shape)
        channels = record.channels
        assert channels is not None
        assert np.allclose(channels.min, values.min((1, 2)))
        assert np.allclose(channels.max, values.max((1, 2)))
        assert np.allclose(channels.mean, values.mean((1, 2)), atol=1e-6)
        assert np.allclose(channels.zeros, (values == 0).mean((1, 2)), atol=1e-6)
        assert channels.constant == [False] * len(values)
        assert channels.finite == [True] * len(values)
        reach = np.abs(values).max()
        assert np.allclose(channels.white, reach)
        assert np.allclose(channels.black, -reach)
        assert (record.min, record.max) == (min(channels.min), max(channels.max))
    assert run.manifest.frames[0].outputs == [[1, 14, 16, 16]]
    assert run.manifest.preparation.size_hw == (64, 64)


def test_two_equal_runs_give_two_equal_folders(tiny: Network, photo: np.ndarray) -> None:
    options = {"write": ["tiles", "sheets", "overlays", "reductions"], "layers": "all"}
    pictures = [photo, photo[::-1].copy()]
    one = ls.run(tiny, pictures, out="one", **options)
    other = ls.run(tiny, pictures, out="elsewhere/other", **options)
    assert digest(one.folder) == digest(other.folder)
    assert len(digest(one.folder)) > 50


def test_several_pictures_have_a_folder_each_under_one_manifest(tiny: Network, photo: np.ndarray) -> None:
    for name in ("a", "b"):
        Image.fromarray(photo).save(f"{name}.png")
    run = ls.run(tiny, ["a.png", "b.png"])
    assert list(run) == ["a", "b"]
    assert {path.name for path in run.folder.iterdir()} == {"a", "b", "manifest.json"}
    assert run["b"].folder == run.folder / "b"
    assert (run.folder / "b/5_shortcut/out5.jpg").is_file()


def test_one_bad_picture_among_many_is_named_and_the_rest_is_done(tiny: Network, photo: np.ndarray) -> None:
    Image.fromarray(photo).save("good.png")
    Path("text.png").write_text("no picture")
    seen = []
    run = ls.run(tiny, ["good.png", "text.png", "gone.png"], progress=seen.append)
    assert list(run) == ["good"]
    assert set(run.failures) == {"text", "gone"}
    assert "text.png" in run.failures["text"]
    assert (seen[-1].frames, seen[-1].of_frames, seen[-1].pictures) == (3, 3, 12)
    assert [progress.frames for progress in seen] == sorted(progress.frames for progress in seen)
    assert (run.folder / "good/5_shortcut/out0.jpg").is_file()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"inputs": "missing.jpg"}, InputNotFoundError),
        ({"inputs": "empty"}, InputError),
        ({"inputs": []}, InputError),
        ({"layers": "9_convolutional"}, UnknownLayerError),
        ({"layers": "1_convolutional:1"}, LayerError),
        ({"scale": "chanel"}, OptionError),
        ({"write": ["tile"]}, OptionError),
        ({"write": []}, OptionError),
        ({"colormap": "virides"}, OptionError),
        ({"tile_format": "gif"}, OptionError),
        ({"reduce": "avg", "write": ["overlays"]}, OptionError),
        ({"alpha": 2.0, "write": ["overlays"]}, OptionError),
        ({"preset": "classical"}, OptionError),
        ({"size": 7}, OptionError),
        ({"max_pixels": 10}, InputError),
    ],
)
def test_what_cannot_be_done_leaves_nothing(tiny: Network, photo: np.ndarray, options: dict, error: type) -> None:
    Path("empty").mkdir()
    Image.fromarray(photo).save("photo.png")
    before = set(Path().iterdir())
    with pytest.raises(error) as caught:
        ls.run(tiny, options.pop("inputs", "photo.png"), **options)
    assert "\n" not in str(caught.value)
    assert set(Path().iterdir()) == before


def test_an_error_in_the_network_leaves_nothing(photo: np.ndarray) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    net = Network(
        source="broken",
        module=Broken(),
        preparation=ls.Preparation(size_hw=(8, 8)),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, bn_eps=1e-5, seed=0),
        known_stages=("first",),
    )
    with pytest.raises(RuntimeError, match="channels"):
        ls.run(net, photo)
    assert not Path("featuremap").exists()


def test_another_run_is_not_overwritten_unless_told_and_then_wholly_replaced(tiny: Network, photo: np.ndarray) -> None:
    first = ls.run(tiny, photo, layers="all")
    (first.folder / "mine.txt").write_text("keep me")
    before = digest(first.folder)
    with pytest.raises(OutputExistsError, match="holds another run"):
        ls.run(tiny, photo)
    assert digest(first.folder) == before
    second = ls.run(tiny, photo, overwrite=True, write=["sheets"])
    assert set(digest(second.folder)) == {
        "manifest.json",
        "mine.txt",
        "sheets/2_shortcut.png",
        "sheets/5_shortcut.png",
    }
    assert {path.name for path in second.folder.iterdir()} == {"manifest.json", "mine.txt", "sheets"}


def test_a_folder_of_other_things_is_refused_and_with_overwrite_left_alone(tiny: Network, photo: np.ndarray) -> None:
    Path("featuremap/backbone_block1").mkdir(parents=True)
    Path("featuremap/backbone_block1/out0.jpg").write_bytes(b"somebody's")
    with pytest.raises(OutputExistsError, match="is not empty and holds no run"):
        ls.run(tiny, photo)
    ls.run(tiny, photo, overwrite=True)
    assert Path("featuremap/backbone_block1/out0.jpg").read_bytes() == b"somebody's"


def test_a_manifest_that_points_elsewhere_deletes_nothing_there(tiny: Network, photo: np.ndarray) -> None:
    run = ls.run(tiny, photo)
    Path("precious.png").write_text("not yours")
    path = run.folder / "manifest.json"
    path.write_text(path.read_text().replace("sheets/5_shortcut.png", "../precious.png"))
    ls.run(tiny, photo, overwrite=True)
    assert Path("precious.png").read_text() == "not yours"


def test_a_place_that_cannot_be_written_is_one_clear_error(tiny: Network, photo: np.ndarray) -> None:
    Path("file").write_text("in the way")
    for out in ("file", "file/below", "/proc/featuremap"):
        with pytest.raises(OutputError, match="cannot be written"):
            ls.run(tiny, photo, out=out)
    if os.geteuid():
        Path("locked").mkdir()
        Path("locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(OutputError, match="cannot be written"):
            ls.run(tiny, photo, out="locked")


def test_a_disk_error_while_writing_leaves_no_half_run(
    tiny: Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layerscope.sinks import tiles

    def full(_pixels: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(tiles.TILE_FORMATS, "jpg", full)
    with pytest.raises(OutputError, match="No space left on device"):
        ls.run(tiny, photo)
    assert not Path("featuremap").exists()


def test_a_disk_that_takes_a_file_in_parts_gets_all_of_it(
    tiny: Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ls.run(tiny, photo, write=["tiles"], out="whole")
    write = os.write
    monkeypatch.setattr("layerscope.sinks.tiles.os.write", lambda file, content: write(file, content[:100]))
    parts = ls.run(tiny, photo, write=["tiles"], out="parts")
    assert digest(parts.folder) == digest(whole.folder)


class Odd(nn.Module):
    """Gives channels that are constant, NaN, Inf and dead."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :1].repeat(1, 6, 1, 1)
        x[:, 1] = 3.0
        x[:, 2] = 0.0
        x[:, 3, 0, 0] = torch.nan
        x[:, 4, 0, 0] = torch.inf
        x[:, 5] = torch.nan
        return x


@pytest.mark.parametrize("scale", ["channel", "layer", "percentile", "symmetric", "unit"])
def test_constant_nan_and_inf_channels_are_drawn_and_marked(photo: np.ndarray, scale: str) -> None:
    net = Network(
        source="odd",
        module=nn.Sequential(Odd()),
        preparation=ls.Preparation(size_hw=(8, 8)),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, bn_eps=1e-5, seed=0),
        known_stages=("0",),
    )
    kinds = ["tiles", "sheets", "overlays", "reductions"]
    run = ls.run(net, photo, scale=scale, write=kinds, tile_format="png", colormap="grey")
    channels = run["frame"]["0"].record.channels
    assert channels is not None
    assert channels.constant == [False, True, True, False, False, False]
    assert channels.finite == [True, True, True, False, False, False]
    assert channels.min[5] is None
    assert channels.max[5] is None
    assert channels.zeros[2] == 1
    for channel in (1, 2, 5):
        assert len(np.unique(np.asarray(run["frame"]["0"].tile(channel)))) == 1
    assert "NaN" not in (run.folder / "manifest.json").read_text()
    json.loads((run.folder / "manifest.json").read_text(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_a_layer_that_runs_twice_and_outputs_of_several_tensors_are_told_apart(
    nasty: nn.Module, photo: np.ndarray
) -> None:
    net = Network(
        source="nasty",
        module=nasty,
        preparation=ls.Preparation(size_hw=(16, 16)),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, bn_eps=1e-5, seed=0),
        known_stages=(),
    )
    run = ls.run(net, photo, layers="all", tile_format="png", colormap="grey")
    frame = run["frame"]
    assert {"relu:0", "relu:1", "split.0", "split.1", "named.kept"} <= set(frame)
    assert frame.record.silent == ["never", "parts", "pieces", "nothing"]
    assert (run.folder / "relu_1/out3.png").is_file()
    for layer, feature_map in ls.capture(net, photo, layers="all").items():
        expected = feature_map.scaled().bytes[2].numpy()
        assert np.array_equal(np.asarray(frame[layer].tile(2)), expected), layer


def test_names_that_fall_together_as_folders_are_kept_apart(photo: np.ndarray) -> None:
    inner = nn.ModuleDict({"b": nn.Conv2d(3, 2, 1)})
    module = nn.ModuleDict({"a": inner, "a_b": nn.Conv2d(3, 2, 1)})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.a_b = module["a"], module["a_b"]

        def forward(self, x: Tensor) -> Tensor:
            return self.a["b"](x) + self.a_b(x)

    net = Network(
        source="both",
        module=Both(),
        preparation=ls.Preparation(size_hw=(8, 8)),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, bn_eps=1e-5, seed=0),
        known_stages=(),
    )
    run = ls.run(net, photo, layers=["a.b", "a_b"], write=["tiles"])
    folders = {layer.tile_path(0).parent.name for layer in run["frame"].values()}
    assert folders == {"a_b", "a_b__2"}


def test_a_picture_named_like_the_manifest_does_no_harm(tiny: Network, photo: np.ndarray) -> None:
    for name in ("manifest.json.png", "other.png"):
        Image.fromarray(photo).save(name)
    run = ls.run(tiny, ["manifest.json.png", "other.png"])
    assert len(run) == 2
    assert ls.open_run(run.folder).manifest == run.manifest
    assert all(path.is_file() for frame in run.values() for layer in frame.values() for path in layer.paths)


def test_open_run_reads_what_run_wrote_and_refuses_what_is_none(tiny: Network, photo: np.ndarray) -> None:
    run = ls.run(tiny, photo)
    again = ls.open_run("featuremap")
    assert again.manifest == run.manifest
    assert "1 frames, 12 pictures" in repr(again)
    assert again["frame"]["5_shortcut"].picture("sheets").size[0] > 100
    with pytest.raises(RunFolderError, match=r"no frame 'frme'.*did you mean 'frame'"):
        again["frme"]
    with pytest.raises(RunFolderError, match="did you mean '5_shortcut'"):
        again["frame"]["5_shortcu"]
    with pytest.raises(RunFolderError, match="channels 0 to 5"):
        again["frame"]["5_shortcut"].tile(6)
    with pytest.raises(RunFolderError, match="wrote no overlays, only sheets"):
        again["frame"]["5_shortcut"].picture("overlays")
    with pytest.raises(RunFolderError, match="no finished run"):
        ls.open_run(".")
    path = Path("featuremap/manifest.json")
    good = path.read_text()
    for text, match in (
        (good.replace('"version": 1', '"version": 99'), "version 99"),
        (good[:200], "is no manifest"),
        (good.replace('"frames"', '"frame"'), "is no manifest"),
        ("[]", "is no manifest"),
    ):
        path.write_text(text)
        with pytest.raises(RunFolderError, match=match):
            ls.open_run("featuremap")


def test_the_maps_of_layers_not_asked_for_are_not_kept(tiny: Network, photo: np.ndarray) -> None:
    import gc
    import weakref

    seen = []
    handle = tiny.module.get_submodule("1_convolutional").register_forward_hook(
        lambda _m, _i, out: seen.append(weakref.ref(out))
    )
    ls.run(tiny, photo)
    handle.remove()
    gc.collect()
    assert seen
    assert all(reference() is None for reference in seen)


def test_overlays_and_reductions_are_the_reduced_map(tiny: Network, photo: np.ndarray) -> None:
    run = ls.run(tiny, photo, write=["overlays", "reductions"], reduce="pca", alpha=1.0)
    overlay = run["frame"]["2_shortcut"].picture("overlays")
    assert overlay.size == (128, 96)
    expected = ls.capture(tiny, photo)["2_shortcut"].overlay("pca", alpha=1.0)
    assert np.array_equal(np.asarray(overlay), np.asarray(expected))
    reduction = run["frame"]["2_shortcut"].picture("reductions")
    assert reduction.mode == "RGB"
    assert min(reduction.size) >= 208
