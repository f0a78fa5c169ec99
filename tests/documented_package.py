"""A package that a page of the documents shows, laid down as an installer would do it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["lay_down"]


def lay_down(page: Path, marker: str, home: Path) -> str:
    """Write the module whose code holds a marker, and its entry point, into a folder for modules.

    Returns:
        The name of the module or package at the top.
    """
    text = page.read_text()
    code = next(block for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if marker in block)
    group, line = re.findall(r"^```toml\n\[project.entry-points.\"(.*?)\"\]\n(.*?)^```", text, re.M | re.S)[0]
    place = line.replace('"', "").partition("=")[2].strip().partition(":")[0]
    path = home.joinpath(*place.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True)
    for package in path.relative_to(home).parents[:-1]:
        (home / package / "__init__.py").touch()
    path.write_text(code)
    name = place.partition(".")[0]
    facts = home / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}")
    return name
