"""The public surface: small, lazy, and built in one direction."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import layerscope
from layerscope import errors

PACKAGE = Path(layerscope.__file__).parent
ORDER = [
    "errors",
    "extras",
    "beside",
    "inputs",
    "reading",
    "models",
    "render",
    "hooks",
    "validation",
    "sinks",
    "job",
    "pipeline",
    "recipe",
    "detection",
    "training",
    "cli",
]
"""The reading order: a part may import those above it, and itself."""


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_all_is_sorted_complete_and_every_name_resolves() -> None:
    names = layerscope.__all__
    assert names == sorted(names, key=lambda name: (name.islower(), name))
    assert set(names) == set(layerscope._HOME)
    for name in names:
        assert getattr(layerscope, name) is not None
        assert inspect.getdoc(getattr(layerscope, name))
    assert set(names) <= set(dir(layerscope))
    with pytest.raises(AttributeError, match="nonsense"):
        layerscope.nonsense  # noqa: B018


def test_public_functions_stay_functions_once_everything_is_imported() -> None:
    """A subpackage of the same name would take a function's place as soon as it is imported."""
    code = "import layerscope as ls, layerscope.cli, layerscope.detection, layerscope.hooks, layerscope.pipeline\n"
    code += "print(*(n for n in ls.__all__ if not callable(getattr(ls, n))))"
    assert run_python(code).strip() == ""


@pytest.mark.parametrize("module", ["layerscope", "layerscope.cli", "layerscope.inputs"])
def test_importing_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in ('torch', 'cv2', 'cmap') if name in sys.modules])"
    assert run_python(code).strip() == "[]"


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_and_version_load_no_torch(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ['layerscope', *{arguments!r}]
from layerscope.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print('torch' in sys.modules)
"""
    assert run_python(code).strip().endswith("False")


def test_imports_point_only_upward() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] in ("__init__", "__main__"):
            continue
        own = ORDER.index(parts[0])
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("layerscope."):
                names = [node.module.split(".")[1]]
            elif isinstance(node, ast.ImportFrom) and node.level:
                names = ["a relative import"]
            elif isinstance(node, ast.Import):
                names = [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("layerscope.")]
            wrong += [f"{'/'.join(parts)} imports {name}" for name in names if name not in ORDER[: own + 1]]
    assert not wrong


def test_every_part_has_its_place_in_the_order() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__", "__main__"} == set(ORDER)


def test_every_error_is_of_the_tree_and_the_tree_is_drawn() -> None:
    drawn = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__:
            assert name in errors.__all__
            if issubclass(value, errors.LayerscopeError):
                assert name in drawn
                if value is not errors.LayerscopeError:
                    assert len(value.__mro__) > 4, f"{name} is also a built-in exception"


def test_no_source_speaks_of_a_machine() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"/(tmp|root|home|work)/", text), path
