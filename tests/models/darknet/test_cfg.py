"""The cfg format: what is read, and the file and line of what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from layerscope.errors import ConfigError
from layerscope.models.darknet import parse_config, read_config

if TYPE_CHECKING:
    from pathlib import Path

MESSY = """
# a comment
; another

 [ net ]
width = 12 # pixels
height=8
width=16
[conv]
filters = 1 0
anchors= 1.5, 2,
layers = -1, 3
"""


def test_white_space_comments_aliases_and_duplicates() -> None:
    config = parse_config(MESSY, "some/messy.cfg")
    assert config.name == "messy"
    assert config.net.kind == "net"
    assert config.net.integer("width") == 16  # the last one holds
    (section,) = config.sections
    assert (section.name, section.kind, section.line) == ("0_convolutional", "convolutional", 9)
    assert section.integer("filters") == 10  # Darknet takes all white space out
    assert section.numbers("anchors") == (1.5, 2.0)
    assert section.integers("layers") == (-1, 3)
    assert section.integer("absent", 7) == 7
    assert section.number("absent", 0.5) == 0.5
    assert section.text("absent", "word") == "word"
    assert not section.flag("absent")


@pytest.mark.parametrize("alias", ["network", "net"])
def test_aliases_of_sections(alias: str) -> None:
    text = f"[{alias}]\nwidth=8\n[conn]\n[max]\n[avg]\n[soft]\n[local_avg]\n[crop]\n[silence]\n"
    kinds = [section.kind for section in parse_config(text, "a.cfg").sections]
    assert kinds == ["connected", "maxpool", "avgpool", "softmax", "local_avgpool", "crop", "empty"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf[net]\r\nwidth=8\r\n[convolutional]\r\nfilters=3\r\n",
        b"# caf\xe9\n[net]\nwidth=8\n[convolutional]\nfilters=3",
        "# café\n[net]\nwidth=8\n[convolutional]\nfilters=3".encode(),
        b"[net]\rwidth=8\r[convolutional]\rfilters=3\r",
    ],
)
def test_byte_order_mark_latin_1_and_line_ends(raw: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.cfg"
    file.write_bytes(raw)
    config = read_config(file)
    assert config.net.integer("width") == 8
    assert config.sections[0].integer("filters") == 3


BAD_TEXTS = {
    "": "no [section]",
    "\n# only a comment\n": "no [section]",
    "width=8\n[net]": ":1:",
    "[net]\nwidth=8\n": "no section after [net]",
    "[net]\nwidth\n[convolutional]": ":2:",
    "[net]\n=8\n[convolutional]": ":2:",
    "[net]\nwidth=8\n[convolutional\nfilters=3": ":3:",
    "[net]\n[]\n": ":2:",
    "[convolutional]\nfilters=3": ":1: the first section must be [net]",
    "[net]\nwidth=8\n\x00\x01\x02": ":3: binary",
}


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_what_is_no_cfg_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "bad.cfg")
    assert str(caught.value).startswith("bad.cfg:")
    assert BAD_TEXTS[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "absent.cfg")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
    junk = tmp_path / "junk.cfg"
    junk.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(ConfigError, match="binary"):
        read_config(junk)
    junk.write_bytes(b"#" * (9 * 2**20))
    with pytest.raises(ConfigError, match="larger than"):
        read_config(junk)


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("filters=ten", lambda section: section.integer("filters")),
        ("filters=", lambda section: section.integer("filters")),
        ("filters=1.5", lambda section: section.integer("filters")),
        ("filters=-3", lambda section: section.integer("filters", low=1)),
        ("filters=99999999999", lambda section: section.integer("filters")),
        (f"filters={'9' * 5000}", lambda section: section.integer("filters")),
        ("scale=nan", lambda section: section.number("scale")),
        ("scale=1e400", lambda section: section.number("scale")),
        ("scale=x", lambda section: section.number("scale")),
        ("layers=1,,2", lambda section: section.integers("layers")),
        ("layers=", lambda section: section.integers("layers")),
        ("anchors=1,a", lambda section: section.numbers("anchors")),
        ("kind=leeky", lambda section: section.text("kind", choices=("leaky", "linear"))),
    ],
)
def test_a_bad_option_names_file_line_section_and_value(line: str, read) -> None:
    config = parse_config(f"[net]\nwidth=8\n[conv]\n{line}", "bad.cfg")
    with pytest.raises(ConfigError) as caught:
        read(config.sections[0])
    message = str(caught.value)
    assert message.startswith("bad.cfg:4: section 0 [convolutional]: ")
    wrong = line.partition("=")[2].split(",")[-1] if ",," not in line else "''"
    assert wrong[:20] in message
    assert len(message) < 200


def test_a_missing_option_names_the_section() -> None:
    config = parse_config("[net]\nwidth=8\n\n[route]\n", "bad.cfg")
    with pytest.raises(ConfigError, match=r"bad\.cfg:4: section 0 \[route\]: the option layers= is missing"):
        config.sections[0].integers("layers")
