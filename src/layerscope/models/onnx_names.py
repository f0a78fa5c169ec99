"""Names for the values of an ONNX graph, so that a module's own value goes by the module's path."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from layerscope.models.onnx_scopes import Node, around, read_nodes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["name_values"]


def name_values(graph: Any) -> dict[str, list[str]]:
    """Name the values of a graph.

    The one value that leaves a module is the module's own and goes by its path; several that are made alike, one after
    another, are those of its calls, and share the path. What is made inside is ``path.Operation``,
    ``path.Operation_1`` and so on. A convolution into which an exporter has folded a batch norm is not what the
    module of that name gives, and goes by its operation.

    Args:
        graph: An ``onnx.GraphProto``.

    Returns:
        Names of values to paths, innermost first, in the order in which the values are computed.
    """
    nodes = _joined(read_nodes(graph))
    own = _own_values(nodes, {value.name for value in graph.output})
    scopes: dict[str, list[str]] = {}
    for scope, values in own.items():
        for value in values:
            scopes.setdefault(value, []).append(scope)
    sizes = Counter(node.scope for node in nodes)
    taken, named = set(own), {}
    for node in nodes:
        alone = sizes[node.scope] == len(own.get(node.scope, ()))
        for value in node.values:
            paths = sorted(scopes.get(value, ()), key=lambda path: -path.count("."))
            if not (node.scope in paths and alone):
                paths.insert(0, _fresh(f"{node.scope}.{node.operation}" if node.scope else node.label, taken))
            named[value] = paths
    return named


def _joined(nodes: list[Node]) -> list[Node]:
    """Give the later calls of a module, which the older exporter numbers, the module's own path.

    ``relu_1`` beside ``relu`` may as well be a module of that name: it is a call only if it does the very same, with
    the same weights.
    """
    for depth in range(max((node.scope.count(".") for node in nodes), default=-1) + 1):
        inside = _inside(nodes)
        bases = {scope: base for scope in inside if scope.count(".") == depth and (base := _base(scope, inside))}
        nodes = [_moved(node, depth, bases) for node in nodes] if bases else nodes
    return nodes


def _base(scope: str, inside: Mapping[str, Sequence[Node]]) -> str:
    """Return the path of the module of which a scope is a later call; empty where it is a module by itself."""
    match = re.fullmatch(r"(.+)_\d+", scope)
    if match is None or match[1] not in inside or not all(node.traced for node in inside[scope]):
        return ""
    return match[1] if _doing(inside[match[1]], match[1]) == _doing(inside[scope], scope) else ""


def _moved(node: Node, depth: int, bases: Mapping[str, str]) -> Node:
    parts = node.scope.split(".")
    base = bases.get(".".join(parts[: depth + 1]))
    return dataclasses.replace(node, scope=".".join([base, *parts[depth + 1 :]])) if base else node


def _doing(nodes: Iterable[Node], scope: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Say what nodes of a module do: where in it, which operation, with which weights."""
    return [(node.scope.removeprefix(scope), node.operation, node.weights) for node in nodes]


def _inside(nodes: Iterable[Node]) -> dict[str, list[Node]]:
    """List the nodes inside every module."""
    inside: dict[str, list[Node]] = {}
    for node in nodes:
        for scope in around(node.scope):
            inside.setdefault(scope, []).append(node)
    return inside


def _own_values(nodes: Sequence[Node], outputs: Collection[str]) -> dict[str, list[str]]:
    """List, for every module that has them, the values that it gives, one a call."""
    users: dict[str, set[str]] = {}
    for node in nodes:
        for value in node.takes:
            users.setdefault(value, set()).add(node.scope)
    own = {}
    for scope, inside in _inside(nodes).items():
        leaving = [[value for value in node.values if _leaves(value, scope, users, outputs)] for node in inside]
        if all(node.whole or node.scope != scope for node in inside) and _are_calls(inside, leaving, scope):
            own[scope] = [value for values in leaving for value in values]
    return own


def _are_calls(nodes: Sequence[Node], leaving: Sequence[Sequence[str]], scope: str) -> bool:
    """Tell whether the nodes of a module are its calls: each ends with the one value that it gives, and all are alike.

    A module that gives several values is none of these, for nothing says which is which.
    """
    calls: list[list[Node]] = [[]]
    for node, values in zip(nodes, leaving, strict=True):
        calls[-1].append(node)
        if len(values) > 1:
            return False
        if values:
            calls.append([])
    first, *others = (_doing(call, scope) for call in calls[:-1])
    return not calls[-1] and all(other == first for other in others)


def _leaves(value: str, scope: str, users: Mapping[str, set[str]], outputs: Collection[str]) -> bool:
    """Tell whether a value is used outside of a module, or nowhere."""
    return value in outputs or value not in users or not all(_is_in(user, scope) for user in users[value])


def _is_in(scope: str, outer: str) -> bool:
    return scope == outer or scope.startswith(f"{outer}.")


def _fresh(path: str, taken: set[str]) -> str:
    fresh, count = path, 0
    while fresh in taken:
        count += 1
        fresh = f"{path}_{count}"
    taken.add(fresh)
    return fresh
