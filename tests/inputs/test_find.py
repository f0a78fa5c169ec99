from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layerscope.errors import InputError, InputNotFoundError, OptionError
from layerscope.inputs import Frame, find_inputs
from layerscope.inputs.naming import safe_name, unique_names


def save(path: Path, level: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2), (level, 0, 0)).save(path)
    return path


def names(*inputs: object) -> list[str]:
    return [item.name for item in find_inputs(list(inputs))]


# Kinds of input


def test_a_single_path_or_a_list_of_them(tmp_path: Path) -> None:
    path = save(tmp_path / "dog.png")
    for inputs in (path, str(path), [path], (str(path),), iter([path])):
        (item,) = find_inputs(inputs)
        frame = item.open()
        assert (item.name, frame.name, frame.path, frame.size_hw) == ("dog", "dog", path, (2, 3))


def test_a_folder_is_searched_deep_in_natural_order(tmp_path: Path) -> None:
    for name in (
        "img10.png",
        "img2.PNG",
        "img01.jpg",
        "part10/a.webp",
        "part9/a.tif",
        ".hidden.png",
        ".git/a.png",
    ):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = [item.path.relative_to(tmp_path).as_posix() for item in find_inputs(tmp_path)]
    assert found == ["img01.jpg", "img2.PNG", "img10.png", "part9/a.tif", "part10/a.webp"]


def test_a_glob_matches_pictures_in_natural_order(tmp_path: Path) -> None:
    for name in ("a10.png", "a9.png", "b.png", "deep/a1.png"):
        save(tmp_path / name)
    (tmp_path / "a.txt").write_text("no picture")
    assert names(tmp_path / "a*") == ["a9", "a10"]
    assert names(str(tmp_path / "**" / "*.png")) == ["a9", "a10", "b", "a1"]


def test_a_file_with_a_patterns_name_is_that_file(tmp_path: Path) -> None:
    literal = save(tmp_path / "a[1].png", level=200)
    save(tmp_path / "a1.png")
    (item,) = find_inputs(literal)
    assert item.path == literal
    assert item.open().pixels[0, 0, 0] == 200


@pytest.mark.parametrize(
    "array",
    [
        np.full((4, 5), 7, np.uint8),
        np.full((4, 5, 1), 7, np.uint8),
        np.full((4, 5, 3), 7, np.uint8),
        np.full((4, 5, 4), 7, np.uint8),
        np.full((4, 5, 3), 7 / 255),
        np.full((4, 5), 7 / 255, np.float16),
        Image.new("RGB", (5, 4), (7, 7, 7)),
        Image.new("LA", (5, 4), (7, 0)),
        Frame(name="frame", pixels=np.full((4, 5, 3), 7, np.uint8)),
    ],
)
def test_arrays_images_and_frames(array: object) -> None:
    (item,) = find_inputs(array)
    frame = item.open()
    assert (frame.name, frame.path, frame.pixels.dtype) == ("frame", None, np.uint8)
    np.testing.assert_array_equal(frame.pixels, np.full((4, 5, 3), 7))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"got \(3, 8, 8\); channels come last: array.transpose"),
        (np.zeros((8, 8, 2), np.uint8), r"got \(8, 8, 2\)$"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"got \(1, 8, 8, 3\)$"),
        (np.zeros(8, np.uint8), r"got \(8,\)$"),
        (np.zeros((0, 8, 3), np.uint8), "at least one pixel"),
        (np.zeros((8, 8, 3), np.int64), "got int64"),
        (np.zeros((8, 8, 3), bool), "got bool"),
        (np.full((8, 8, 3), 255.0), "floats? .*in 0..1, got 255 to 255"),
        (np.full((8, 8, 3), np.nan), "in 0..1, got nan"),
        (np.full((8, 8), -0.5), "in 0..1, got -0.5"),
    ],
)
def test_an_array_of_another_kind_fails_when_opened(array: np.ndarray, message: str) -> None:
    good, bad = find_inputs([np.zeros((2, 2), np.uint8), array])
    good.open()
    with pytest.raises(InputError, match=message):
        bad.open()


def test_an_opened_array_is_a_copy() -> None:
    array = np.zeros((2, 2, 3), np.uint8)
    frame = find_inputs(array)[0].open()
    array[:] = 9
    assert frame.pixels.max() == 0


def test_an_opened_images_name_is_its_files(tmp_path: Path) -> None:
    with Image.open(save(tmp_path / "dog.png")) as image:
        assert names(image) == ["dog"]


# What is wrong


def test_a_missing_or_broken_file_fails_only_when_opened(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(save(tmp_path / "good.png").read_bytes()[:40])
    missing, first, cut, last = find_inputs(["none.png", tmp_path / "good.png", broken, tmp_path / "good.png"])
    with pytest.raises(InputNotFoundError, match=r"no such file: none\.png"):
        missing.open()
    with pytest.raises(InputError, match=r"broken\.png"):
        cut.open()
    assert (first.open().name, last.open().name) == ("good", "good_2")


def test_the_limit_on_pixels_reaches_every_kind(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    for item in find_inputs([path, tmp_path, str(tmp_path / "*.png"), Image.new("RGB", (3, 2))], max_pixels=5):
        with pytest.raises(InputError, match="3 x 2 = 6 pixels, over the limit of 5"):
            item.open()
    with pytest.raises(OptionError):
        find_inputs(path, max_pixels=0)


def test_nothing_found_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match="no picture in this folder"):
        find_inputs(tmp_path)
    with pytest.raises(InputError, match="no file matches this pattern"):
        find_inputs(tmp_path / "*.png")
    with pytest.raises(InputError, match="1 matches, but none is a picture"):
        find_inputs(tmp_path / "*.txt")
    with pytest.raises(InputError, match="no input"):
        find_inputs([])
    with pytest.raises(InputError, match="an empty path"):
        find_inputs("")


@pytest.mark.parametrize("inputs", [3, [3], b"a.png", [["a.png"]], object()])
def test_what_is_no_input_is_named(inputs: object) -> None:
    with pytest.raises(InputError, match="expected a path, pattern, NumPy array"):
        find_inputs(inputs)


def test_a_tensor_is_refused_with_its_type() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="got Tensor"):
        find_inputs(torch.zeros(3, 4, 4))


@pytest.mark.parametrize("text", ["a\0b*.png", "[z-a]*.png", "x" * 9000, "**", "a[", "\udcff*", "\udcff"])
def test_odd_paths_give_input_errors(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_inputs(text)[0].open()
    assert str(caught.value).isprintable()


# Names


def test_names_are_told_apart_by_ending_then_folder_then_number(tmp_path: Path) -> None:
    assert names("dog.jpg", "cat.jpg") == ["dog", "cat"]
    assert names("dog.jpg", "dog.png") == ["dog_jpg", "dog_png"]
    assert names("l/dog.jpg", "r/dog.jpg", "cat.jpg") == ["l_dog", "r_dog", "cat"]
    assert names("l/dog.jpg", "r/dog.jpg", "l/dog.png") == ["l_dog_jpg", "r_dog_jpg", "l_dog_png"]
    assert names("l/dog.jpg", "l/dog.jpg") == ["dog", "dog_2"]
    array = np.zeros((1, 1), np.uint8)
    assert names(array, array, array) == ["frame", "frame_2", "frame_3"]


def test_names_that_differ_only_in_case_or_unicode_form_are_told_apart() -> None:
    assert names("a/Dog.jpg", "b/dog.jpg") == ["a_Dog", "b_dog"]
    assert len({name.casefold() for name in names("x/e\u0301.jpg", "x/\u00e9.jpg")}) == 2


def test_a_number_never_takes_another_frames_name() -> None:
    assert names("l/dog.jpg", "dog_2.jpg", "l/dog.jpg") == ["dog", "dog_2", "dog_3"]
    assert names("l/Dog.jpg", "dog_2.jpg", "l/Dog.jpg") == ["Dog", "dog_2", "Dog_3"]
    assert len(set(names("l/a.jpg", "r/a.jpg", "l_a.jpg", "l_a.png"))) == 4


def test_a_frames_own_name_is_made_safe_and_unique() -> None:
    frames = [Frame(name=name, pixels=np.zeros((1, 1, 3), np.uint8)) for name in ("../up", "a:0", "a:0", "")]
    items = find_inputs(frames)
    assert [item.name for item in items] == ["_up", "a_0", "a_0_2", "frame"]
    assert [item.open().name for item in items] == [item.name for item in items]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "frame"),
        (".", "frame"),
        ("..", "frame"),
        (" . ", "frame"),
        (".env", "env"),
        ('a/b\\c:d*e?f"g<h>i|j\0k\nl', "a_b_c_d_e_f_g_h_i_j_k_l"),
        ("con", "con_"),
        ("NUL.tar", "NUL_.tar"),
        ("com1", "com1_"),
        ("console", "console"),
        ("com10", "com10"),
        ("a. .", "a"),
        ("\udcff", "_"),
        ("é" * 300, "é" * 100),
    ],
)
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text) == name


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=6), st.none() | st.builds(Path, st.text("ab/.", max_size=8)))))
def test_all_names_are_unique_safe_and_made_again_the_same(wanted: list[tuple[str, Path | None]]) -> None:
    result = unique_names(wanted)
    assert result == unique_names(wanted)
    assert len({name.casefold() for name in result}) == len(wanted)
    for name in result:
        assert name
        assert name == safe_name(name)
        assert not set(name) & set('<>:"/\\|?*\0')
        assert name[0] not in ". "
        assert name[-1] not in ". "


@pytest.mark.skipif(os.name == "nt", reason="Windows refuses such names itself")
def test_every_name_can_be_a_folder(tmp_path: Path) -> None:
    for name in names("x" * 240 + "/" + "y" * 240 + ".jpg", "z/" + "y" * 240 + ".jpg", "é" * 120 + ".png"):
        (tmp_path / name).mkdir()


def test_inputs_travel_to_other_processes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    for item in find_inputs([path, np.zeros((1, 1), np.uint8)]):
        again = pickle.loads(pickle.dumps(item))
        np.testing.assert_array_equal(again.open().pixels, item.open().pixels)


def test_nothing_stands_for_the_scenes_that_ship() -> None:
    found = find_inputs(None)
    assert [item.name for item in found] == ["scene0", "scene7", "scene10"]
    assert all(item.open().size_hw == (416, 416) for item in found)
