"""Names for frames: unique, and fit to be a folder's name on any file system."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])(?=\.|$)", re.IGNORECASE)
_MAX_BYTES = 200


def safe_name(text: str) -> str:
    """Make a text fit to be a folder's name on Windows, macOS and Linux.

    Separators, control characters and what Windows refuses become ``_``; leading dots and blanks
    and trailing ones go; a Windows device name gets a ``_`` behind it; 200 bytes are kept.

    Args:
        text: Any text.

    Returns:
        A name that is never empty.

    >>> safe_name("a:b?"), safe_name("..hidden. "), safe_name("con"), safe_name("..")
    ('a_b_', 'hidden', 'con_', 'frame')
    """
    text = unicodedata.normalize("NFC", _REFUSED.sub("_", text))
    text = text.encode()[:_MAX_BYTES].decode(errors="ignore")
    text = text.lstrip(". ").strip().rstrip(". ")
    text = _DEVICE.sub(r"\1_", text, count=1) if _DEVICE.match(text) else text
    return text or "frame"


def unique_names(wanted: Sequence[tuple[str, Path | None]]) -> list[str]:
    """Give every frame a name of its own, telling apart what would share one.

    Frames that share a name take the first of these that tells all of them apart: their ending
    (``dog_jpg``, ``dog_png``), their folder (``left_dog``, ``right_dog``), both; else they are
    numbered in their order (``dog``, ``dog_2``). Case and Unicode form do not tell apart, for some
    file systems ignore them.

    Args:
        wanted: For each frame the name it would have alone, and its path.

    Returns:
        As many safe names, no two equal.

    >>> from pathlib import Path
    >>> unique_names([("dog", Path("a/dog.jpg")), ("dog", Path("a/dog.png")), ("cat", None), ("cat", None)])
    ['dog_jpg', 'dog_png', 'cat', 'cat_2']
    """
    names = [safe_name(name) for name, _ in wanted]
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(_key(name), []).append(index)
    for members in groups.values():
        if len(members) > 1:
            for index, name in zip(members, _told_apart([wanted[index] for index in members]), strict=True):
                names[index] = name
    return _numbered(names)


def _told_apart(group: Sequence[tuple[str, Path | None]]) -> list[str]:
    """Lengthen the names of frames that share one, or leave them where nothing tells them apart."""
    forms = ("{stem}_{ending}", "{folder}_{stem}", "{folder}_{stem}_{ending}")
    for form in forms:
        names = [safe_name(name) if path is None else _lengthened(form, name, path) for name, path in group]
        if len({_key(name) for name in names}) == len(names):
            return names
    return [safe_name(name) for name, _ in group]


def _lengthened(form: str, name: str, path: Path) -> str:
    longer = form.format(stem=name, ending=path.suffix[1:].lower(), folder=path.parent.name)
    return safe_name(longer.strip("_"))  # a file without an ending, or in no named folder


def _numbered(names: Sequence[str]) -> list[str]:
    """Number what is still shared, keeping clear of the names that are taken."""
    count = Counter(map(_key, names))
    taken = {key for key, times in count.items() if times == 1}
    result = []
    following: dict[str, int] = {}
    for name in names:
        key = _key(name)
        if count[key] > 1:
            number = following.get(key, 1)
            candidate = name if number == 1 else f"{name}_{number}"
            while _key(candidate) in taken:
                number += 1
                candidate = f"{name}_{number}"
            following[key] = number + 1
            taken.add(_key(candidate))
            name = candidate
        result.append(name)
    return result


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
