"""Darknet's ``.cfg`` format: text -> sections whose options are read with their type and range.

The format is the one that Darknet's own parser reads (``src/parser.c`` and ``src/option_list.c`` of
https://github.com/AlexeyAB/darknet): ``[section]`` lines and ``key=value`` lines, all white space left
out, lines that start with ``#`` or ``;`` are comments. Here a comment may also follow a value. Where an
option is given twice the last one holds, as in OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerscope.errors import ConfigError
from layerscope.models.darknet.section import Section, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Config", "Section", "parse_config", "read_config"]

LARGEST_FILE_BYTES = 8 * 2**20
LARGEST_SECTION_COUNT = 10_000

# Short names that Darknet's parser takes for a section.
ALIASES = {
    "network": "net",
    "conv": "convolutional",
    "conn": "connected",
    "max": "maxpool",
    "avg": "avgpool",
    "local_avg": "local_avgpool",
    "soft": "softmax",
    "silence": "empty",
    "normalization": "lrn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole cfg.

    Attributes:
        name: The file's name without folder and suffix: ``yolov3``.
        net: The ``[net]`` section.
        sections: The layers' sections in order.
    """

    name: str
    net: Section
    sections: tuple[Section, ...]


def read_config(path: str | Path) -> Config:
    """Read a cfg file (UTF-8, with or without a byte order mark, else Latin-1).

    Args:
        path: The file.

    Returns:
        Its sections; nothing is checked yet beyond the format.

    Raises:
        ConfigError: It cannot be read, or is no cfg.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{file}: the cfg cannot be read: {reason}") from error
    if len(raw) > LARGEST_FILE_BYTES:
        raise ConfigError(f"{file}: larger than {LARGEST_FILE_BYTES >> 20} MiB, so no Darknet cfg")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return parse_config(text, str(file))


def parse_config(text: str, name: str) -> Config:
    r"""Split a cfg's text into sections.

    Args:
        text: The whole text.
        name: The file's name or path, for messages and :attr:`Config.name`.

    Returns:
        The sections.

    Raises:
        ConfigError: The text is not of the format, or has no layers.

    >>> config = parse_config("[net]\nwidth=8\nheight=8\n[conv]\nfilters = 4 # few", "tiny.cfg")
    >>> config.sections[0].name, config.sections[0].integer("filters")
    ('0_convolutional', 4)
    """
    sections: list[Section] = []
    options: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, content in _lines(text, name):
        if content.startswith("["):
            options, lines = {}, {}
            sections.append(_section(content, line, len(sections) - 1, options, lines, name))
            continue
        key, equals, value = content.partition("=")
        if not equals or not key:
            raise ConfigError(f"{name}:{line}: expected [section] or key=value, not {shortened(content)!r}")
        if not sections:
            raise ConfigError(f"{name}:{line}: the option {shortened(key)}= comes before the first [section]")
        options[key] = value
        lines[key] = line
    if not sections:
        raise ConfigError(f"{name}: no [section] in it, so no Darknet cfg")
    if len(sections) == 1:
        raise ConfigError(f"{name}:{sections[0].line}: no section after [net], so no network")
    return Config(name=Path(name).stem, net=sections[0], sections=tuple(sections[1:]))


def _section(content: str, line: int, index: int, options: dict[str, str], lines: dict[str, int], name: str) -> Section:
    """Check a header line; the two dicts are filled as the lines below it are read."""
    kind = content[1:-1]
    if not content.endswith("]") or not kind or not kind.isprintable():
        raise ConfigError(f"{name}:{line}: expected [section], not {shortened(content)!r}")
    kind = ALIASES.get(kind, kind)
    if index < 0 and kind != "net":
        raise ConfigError(f"{name}:{line}: the first section must be [net], not {shortened(content)}")
    if index >= LARGEST_SECTION_COUNT:
        raise ConfigError(f"{name}:{line}: more than {LARGEST_SECTION_COUNT} sections")
    return Section(
        index=index,
        kind=kind,
        line=line,
        options=options,
        lines=lines,
        file=name,
    )


def _lines(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield the number and content of each line that says something, white space taken out."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if any(character < " " and character not in "\t\f\v" for character in line):
            raise ConfigError(f"{name}:{number}: binary data, so no Darknet cfg")
        content = "".join(line.partition("#")[0].partition(";")[0].split())
        if content:
            yield number, content
