"""Names of classes: the known lists beside Darknet's own files, and files of every kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscope.errors import OptionError
from layerscope.models.class_names import class_names, read_names

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("file", "classes"), [("coco.names", 80), ("voc.names", 20)])
def test_known_names_are_those_of_darknets_own_files(file: str, classes: int, shared_data: Path) -> None:
    lines = (shared_data / "cfg" / file).read_bytes().split(b"\n")
    expected = tuple(line.decode().strip() for line in lines if line.strip())
    assert len(expected) == classes
    assert class_names(classes) == expected
    assert read_names(shared_data / "cfg" / file, classes) == expected


@pytest.mark.parametrize("classes", [0, 1, 2, 19, 21, 79, 81, 1000])
def test_unknown_classes_are_numbered(classes: int) -> None:
    names = class_names(classes)
    assert len(names) == len(set(names)) == classes
    assert [int(name.removeprefix("class ")) for name in names] == list(range(classes))


@pytest.mark.parametrize(
    "content",
    [
        b"red ring\nblue square\n",
        b"red ring\nblue square",
        b"red ring\r\nblue square\r\n",
        b"red ring\rblue square\r",
        b"\xef\xbb\xbfred ring\nblue square\n",
        b"\n  red ring \t\n\n\r\nblue square\n\n",
    ],
    ids=["plain", "no last newline", "CRLF", "CR", "byte order mark", "blanks"],
)
def test_names_are_read_line_by_line_however_the_lines_end(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "two.names"
    path.write_bytes(content)
    assert read_names(path, 2) == ("red ring", "blue square")
    assert read_names(str(path), 2) == ("red ring", "blue square")


@pytest.mark.parametrize(
    ("content", "count"), [("a\nb\nc\nd\n", 4), ("a\nb\n", 2), ("", 0), ("\n\n", 0), ("a b c\n", 1)]
)
def test_too_many_and_too_few_names_are_refused_with_both_counts(tmp_path: Path, content: str, count: int) -> None:
    path = tmp_path / "some.names"
    path.write_text(content)
    with pytest.raises(OptionError, match=rf"some\.names: names {count} classes, the network has 3$"):
        read_names(path, 3)


@pytest.mark.parametrize("kind", ["missing", "a folder", "no text"])
def test_what_cannot_be_read_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "names"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no text":
        path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(OptionError, match="cannot be read as a list of names") as caught:
        read_names(path, 2)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff"), min_size=1).map(str.strip)


@given(
    names=st.lists(lines.filter(bool), max_size=6),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_any_names_come_back(tmp_path_factory: pytest.TempPathFactory, names: list[str], ending: str) -> None:
    path = tmp_path_factory.mktemp("names") / "any.names"
    path.write_bytes("".join(name + ending for name in names).encode())
    assert read_names(path, len(names)) == tuple(names)
