"""Names for the values of an ONNX graph: the paths of the modules that they come from, as exporters leave them.

PyTorch's older exporter writes the path into a node's name, ``/backbone/block1/Add``; its newer one into the node's
metadata, ``pkg.torch.onnx.name_scopes``. Other files have values with names of their own, which are kept.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["name_values"]

SCOPES = "pkg.torch.onnx.name_scopes"
NO_DATA = frozenset(("Constant", "ConstantOfShape", "Shape", "Size"))
"""Operations whose results say nothing of the picture."""


@dataclass(frozen=True, slots=True)
class _Node:
    """One node of the graph: where it comes from, and the values that depend on the picture."""

    scope: str
    operation: str
    values: tuple[str, ...]
    takes: tuple[str, ...]
    whole: bool


def name_values(graph: Any) -> dict[str, list[str]]:
    """Name the values of a graph.

    The one value that leaves a module is the module's own and goes by its path; what is made inside is
    ``path.Operation``, ``path.Operation_1`` and so on. A convolution into which an exporter has folded a batch norm
    is not what the module of that name gives, and goes by its operation.

    Args:
        graph: An ``onnx.GraphProto``.

    Returns:
        Names of values to paths, innermost first, in the order in which the values are computed.
    """
    nodes = list(_nodes(graph))
    outputs = {value.name for value in graph.output}
    leaving = _leaving(nodes, outputs)
    taken: set[str] = {scope for scope in leaving if scope}
    named: dict[str, list[str]] = {}
    for node in nodes:
        alone = sum(other.scope == node.scope for other in nodes) == 1 if node.scope else False
        for value in node.values:
            own = [scope for scope, gone in leaving.items() if scope and gone == {value}]
            paths = sorted(own, key=lambda path: -path.count("."))
            if not (node.scope in own and alone):
                paths.insert(0, _fresh(_path(node, value), taken))
            named[value] = paths
    return named


def _nodes(graph: Any) -> Iterable[_Node]:
    """Read the nodes whose results depend on the picture."""
    stored = {tensor.name for tensor in graph.initializer}
    data = {value.name for value in graph.input if value.name not in stored}
    for node in graph.node:
        takes = tuple(name for name in node.input if name in data)
        values = tuple(name for name in node.output if name)
        if node.op_type in NO_DATA or not takes or not values:
            continue
        data.update(values)
        scope, operation = _place(node)
        yield _Node(scope, operation, values, takes, _is_whole(node, scope, stored))


def _place(node: Any) -> tuple[str, str]:
    """Return the path of the module that a node comes from, empty where none is known, and its operation."""
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    if SCOPES in metadata:
        try:
            *scopes, _ = ast.literal_eval(metadata[SCOPES])
        except (ValueError, SyntaxError):
            scopes = []
        if scopes:
            return str(scopes[-1]), node.op_type
    parts = node.name.split("/")
    if len(parts) > 2 and parts[0] == "" and re.fullmatch(rf"{node.op_type}(_\\d+)?", parts[-1]):
        path = ".".join(_plain(part) for part in parts[1:-1])
        return re.sub(r"(^|\\.)(\\w+)\\.\\2\\.(?=\\d)", r"\\1\\2.", path), node.op_type
    return "", node.op_type


def _is_whole(node: Any, scope: str, stored: set[str]) -> bool:
    """Tell whether a convolution is the module's own, by whether its weights still go by the module's name."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or SCOPES in {e.key for e in node.metadata_props}:
        return True
    weights = [name for name in node.input[1:2] if name in stored]
    return not scope or weights == [f"{scope}.weight"]


def _leaving(nodes: list[_Node], outputs: set[str]) -> dict[str, set[str]]:
    """List, for every module around some node, the values that are used outside of it."""
    used: dict[str, set[str]] = {}
    for node in nodes:
        for value in node.takes:
            used.setdefault(value, set()).add(node.scope)
    leaving: dict[str, set[str]] = {}
    for node in nodes:
        for scope in _around(node.scope):
            gone = leaving.setdefault(scope, set())
            for value in node.values:
                inside = all(_is_in(user, scope) for user in used.get(value, ()))
                if not inside or value in outputs or value not in used:
                    # A value that is not what the module gives makes the module one of several, which has no name.
                    gone.update((value,) if node.whole or scope != node.scope else (value, ""))
    return leaving


def _around(scope: str) -> list[str]:
    parts = scope.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)] if scope else []


def _is_in(scope: str, outer: str) -> bool:
    return scope == outer or scope.startswith(f"{outer}.")


def _path(node: _Node, value: str) -> str:
    """Name a value by its module and operation, or by its own name where no module is known."""
    return f"{node.scope}.{node.operation}" if node.scope else _plain(value)


def _plain(name: str) -> str:
    """Make a name one that a module may have: without dots, never empty."""
    return re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") or "value"


def _fresh(path: str, taken: set[str]) -> str:
    fresh, count = path, 0
    while fresh in taken:
        count += 1
        fresh = f"{path}_{count}"
    taken.add(fresh)
    return fresh
