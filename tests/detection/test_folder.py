"""Boxes of many pictures in one folder: what is written, and what is left after trouble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import layerscope as ls
from layerscope.detection import folder as folder_module
from layerscope.detection.draw import draw_boxes
from layerscope.errors import (
    InputError,
    InputNotFoundError,
    LayerscopeError,
    OptionError,
    OutputError,
    OutputExistsError,
    SourceError,
)
from layerscope.inputs import Frame

if TYPE_CHECKING:
    from layerscope.job import Progress


@pytest.fixture
def pictures(photo: np.ndarray) -> list[str]:
    """Three files, the middle one no picture."""
    Image.fromarray(photo).save("first.png")
    Path("broken.png").write_text("no picture")
    Image.fromarray(photo[::-1].copy()).save("second.png")
    return ["first.png", "broken.png", "second.png"]


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def written(folder: Path | str) -> dict:
    return json.loads((Path(folder) / "boxes.json").read_text(encoding="utf-8"))


def test_the_file_of_boxes_holds_what_detect_finds(tiny: ls.Network, pictures: list[str]) -> None:
    found = ls.detect_all(tiny, pictures, score=0.3, iou=0.6, size=32)
    expected = {
        Path(name).stem: ls.detect(tiny, name, score=0.3, iou=0.6, size=32) for name in (pictures[0], pictures[2])
    }
    assert found.boxes == expected
    assert all(expected.values())
    assert found.folder == Path("detections")
    frames = written("detections")["frames"]
    assert [frame["name"] for frame in frames] == ["first", "second"]
    for frame in frames:
        assert frame["boxes"] == [box.as_dict() for box in expected[frame["name"]]]
        assert frame["picture"] == f"{frame['name']}.png"
    assert written("detections") == found.as_dict()


def test_each_picture_is_drawn_with_its_boxes(tiny: ls.Network, pictures: list[str]) -> None:
    found = ls.detect_all(tiny, pictures)
    assert {path.name for path in Path("detections").iterdir()} == {"first.png", "second.png", "boxes.json"}
    for name, path in found.pictures.items():
        frame = Frame(name=name, pixels=pixels(f"{name}.png"))
        assert np.array_equal(pixels(path), np.asarray(draw_boxes(frame, found.boxes[name])))


def test_one_bad_picture_among_many_is_named_and_the_rest_is_done(tiny: ls.Network, pictures: list[str]) -> None:
    found = ls.detect_all(tiny, [*pictures, "gone.png"])
    assert list(found.boxes) == ["first", "second"]
    assert set(found.failures) == {"broken", "gone"}
    assert "broken.png" in found.failures["broken"]
    assert "gone.png" in found.failures["gone"]
    assert written("detections")["failures"] == found.failures


def test_progress_is_told_of_every_picture_the_bad_ones_too(tiny: ls.Network, pictures: list[str]) -> None:
    seen: list[Progress] = []
    ls.detect_all(tiny, [*pictures, "gone.png"], progress=seen.append)
    assert [(item.frames, item.of_frames, item.pictures) for item in seen] == [
        (1, 4, 1),
        (2, 4, 1),
        (3, 4, 2),
        (4, 4, 2),
    ]


def test_two_equal_calls_give_two_equal_folders(tiny: ls.Network, pictures: list[str]) -> None:
    one, other = (ls.detect_all(tiny, pictures, out=out).folder for out in ("one", "two/deep"))
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_a_picture_in_which_nothing_is_found_is_there_with_no_boxes(tiny: ls.Network, photo: np.ndarray) -> None:
    found = ls.detect_all(tiny, photo, score=1.0)
    assert found.boxes == {"frame": []}
    assert written("detections")["frames"] == [{"name": "frame", "picture": "frame.png", "boxes": []}]
    assert np.array_equal(pixels("detections/frame.png"), photo)


@pytest.mark.parametrize("name", ["boxes", "boxes.json", "BOXES.JSON"])
def test_a_picture_named_like_the_file_of_boxes_does_not_clash_with_it(
    tiny: ls.Network, photo: np.ndarray, name: str
) -> None:
    Image.fromarray(photo).save(f"{name}.png")
    found = ls.detect_all(tiny, f"{name}.png")
    assert {path.name for path in Path("detections").iterdir()} == {"boxes.json", f"{name}.png"}
    assert len({path.name.casefold() for path in Path("detections").iterdir()}) == 2
    assert pixels(found.pictures[name]).shape == photo.shape
    assert written("detections") == found.as_dict()


def test_pictures_of_one_name_are_told_apart(tiny: ls.Network, photo: np.ndarray) -> None:
    for side in ("left", "right"):
        Path(side).mkdir()
        Image.fromarray(photo).save(f"{side}/dog.png")
    found = ls.detect_all(tiny, ["left", "right"])
    assert set(found.pictures) == {"left_dog", "right_dog"}
    assert all(path.is_file() for path in found.pictures.values())


@pytest.mark.parametrize("inside", ["mine.txt", "boxes.json"])
def test_a_folder_that_holds_something_is_refused_and_left_alone(
    tiny: ls.Network, photo: np.ndarray, inside: str
) -> None:
    Path("detections").mkdir()
    Path("detections", inside).write_text("mine")
    with pytest.raises(OutputExistsError, match=r"detections is not empty \(.*--overwrite"):
        ls.detect_all(tiny, photo)
    assert [path.name for path in Path("detections").iterdir()] == [inside]
    assert Path("detections", inside).read_text() == "mine"


def test_with_overwrite_its_own_names_are_replaced_and_others_stay(tiny: ls.Network, photo: np.ndarray) -> None:
    Path("detections").mkdir()
    for name in ("mine.txt", "boxes.json", "frame.png"):
        Path("detections", name).write_text("old")
    found = ls.detect_all(tiny, photo, overwrite=True)
    assert written("detections") == found.as_dict()
    assert pixels("detections/frame.png").shape == photo.shape
    assert Path("detections/mine.txt").read_text() == "old"
    assert len(list(Path("detections").iterdir())) == 3


@pytest.mark.parametrize("hidden", [None, ".DS_Store"])
def test_an_empty_folder_is_taken_and_what_a_system_hides_in_it_does_not_count(
    tiny: ls.Network, photo: np.ndarray, hidden: str | None
) -> None:
    Path("detections").mkdir()
    if hidden:
        Path("detections", hidden).touch()
    assert ls.detect_all(tiny, photo).pictures["frame"].is_file()


@pytest.mark.parametrize("there", [False, True])
def test_where_no_picture_can_be_read_the_error_says_so_and_nothing_is_left(tiny: ls.Network, there: bool) -> None:
    if there:
        Path("detections").mkdir()
    seen: list[Progress] = []
    with pytest.raises(InputNotFoundError, match=r"gone\.png") as alone:
        ls.detect_all(tiny, "gone.png", progress=seen.append)
    assert "none of" not in str(alone.value), "a single one keeps its own error"
    with pytest.raises(InputError, match=r"none of 2 pictures could be read: .*gone\.png.*; .*away\.png") as both:
        ls.detect_all(tiny, ["gone.png", "away.png"], progress=seen.append)
    assert "\n" not in str(both.value)
    assert [item.frames for item in seen] == [1, 1, 2]
    assert Path("detections").exists() == there
    assert not there or not any(Path("detections").iterdir())


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("where", ["detect", "draw_boxes", "progress"])
@pytest.mark.parametrize("error", [RuntimeError("in the network"), KeyboardInterrupt()])
def test_an_error_in_the_middle_leaves_nothing_half_written(
    tiny: ls.Network,
    pictures: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    where: str,
    there: bool,
) -> None:
    if there:
        Path("detections").mkdir()
    calls = []

    def second_fails(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise error
        return None if where == "progress" else original(*args, **options)  # type: ignore[operator]

    original = getattr(folder_module, where, None)
    if where != "progress":
        monkeypatch.setattr(folder_module, where, second_fails)
    with pytest.raises(type(error)):
        ls.detect_all(tiny, pictures, progress=second_fails if where == "progress" else None)
    assert Path("detections").exists() == there
    assert not there or not any(Path("detections").iterdir())


def test_a_full_disk_is_one_clear_error_and_leaves_what_was_there(
    tiny: ls.Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("detections").mkdir()
    Path("detections/frame.png").write_text("old")

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match=r"^detections: cannot be written \(No space left on device\)$"):
        ls.detect_all(tiny, photo, overwrite=True)
    assert [path.name for path in Path("detections").iterdir()] == ["frame.png"]
    assert Path("detections/frame.png").read_text() == "old"


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/detections", "x" * 300])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_place_that_cannot_be_written_is_one_clear_error(
    tiny: ls.Network, photo: np.ndarray, out: str, overwrite: bool
) -> None:
    Path("file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        ls.detect_all(tiny, photo, out=out, overwrite=overwrite)
    assert Path("file").read_text() == "in the way"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"score": 2.0}, OptionError),
        ({"iou": -1.0}, OptionError),
        ({"size": 7}, OptionError),
        ({"resize": "squeeze"}, OptionError),
        ({"max_pixels": 0}, OptionError),
        ({"max_pixels": 10}, InputError),
        ({"inputs": []}, InputError),
        ({"inputs": "empty"}, InputError),
    ],
)
def test_what_cannot_be_done_leaves_nothing(
    tiny: ls.Network, pictures: list[str], options: dict, error: type[LayerscopeError]
) -> None:
    Path("empty").mkdir()
    before = set(Path().iterdir())
    with pytest.raises(error):
        ls.detect_all(tiny, options.pop("inputs", pictures[0]), **options)
    assert set(Path().iterdir()) == before


@pytest.mark.filterwarnings("ignore::layerscope.errors.LayerscopeWarning")
def test_a_network_that_does_not_detect_is_refused(photo: np.ndarray) -> None:
    net = ls.load("darknet53", device="cpu")
    with pytest.raises(SourceError, match="darknet53 does not detect"):
        ls.detect_all(net, photo)
    assert not Path("detections").exists()
