"""What the documents say is true: commands exist, links lead somewhere, the schema is the code's."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

import layerscope as ls
from layerscope.cli import app
from layerscope.sinks.manifest import manifest_schema

PROJECT = Path(__file__).resolve().parents[1]
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])
COMMANDS = typer.main.get_command(app)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return the calls of layerscope in a text, comments dropped."""
    found = re.findall(r"^\s*(layerscope (?:run|layers|detect|check|timeline)\b.*)$", text, flags=re.MULTILINE)
    return [line.split("  #")[0].strip() for line in found]


DOCUMENTED = [line for page in PAGES for block in blocks(page, "sh") for line in commands(block)]
IN_HELP = [line for command in COMMANDS.commands.values() for line in commands(command.help or "")]
IN_HELP += commands(COMMANDS.help or "")


def test_there_are_commands_to_check() -> None:
    assert len(DOCUMENTED) >= 5
    assert len(IN_HELP) >= 8


@pytest.mark.parametrize("line", dict.fromkeys(DOCUMENTED + IN_HELP))
def test_every_command_that_is_shown_is_one_that_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    COMMANDS.commands[name].make_context(name, arguments)


def test_readme_opens_with_two_verbs_that_the_makefile_has() -> None:
    first = blocks(PROJECT / "README.md", "sh")[0]
    verbs = re.findall(r"^make ([a-z-]+)", first, flags=re.MULTILINE)
    makefile = (PROJECT / "Makefile").read_text()
    assert verbs == ["first-look", "test"]
    assert all(re.search(rf"^{verb}:.*##", makefile, flags=re.MULTILINE) for verb in verbs)
    assert re.search(r"^make test\b", (PROJECT / ".ci" / "run").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_documents_uses_names_that_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")
        for name in re.findall(r"\bls\.([a-z_]+)", block):
            assert name in ls.__all__, name


def test_the_schema_in_the_documents_is_the_codes() -> None:
    written = json.loads((PROJECT / "docs" / "manifest.schema.json").read_text())
    assert written == manifest_schema(), "run `make schema`"
