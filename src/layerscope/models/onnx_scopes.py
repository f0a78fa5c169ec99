"""Where the nodes of an ONNX graph come from: the paths of modules, as exporters leave them.

PyTorch's older exporter writes the path into a node's name, ``/backbone/block1/Add``; its newer one into the node's
metadata. TensorFlow's names are paths too. Where there are none, a layer's weights may still go by its path.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Node", "around", "plain", "read_nodes"]

SCOPES = "pkg.torch.onnx.name_scopes"
NO_DATA = frozenset(("Constant", "ConstantOfShape", "Shape", "Size"))
"""Operations whose results say nothing of the picture."""

FOLDED = frozenset(("Conv", "ConvTranspose", "Gemm"))
"""Operations into whose weights exporters fold a batch norm that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the graph whose results depend on the picture.

    Attributes:
        scope: Path of the module that it comes from; empty where none is known.
        traced: Whether PyTorch's older exporter says so.
        known: Whether the file says where it comes from.
        operation: Its type.
        label: What its values go by where no module is known.
        takes: The values that it reads and that depend on the picture, those inside its branches too.
        values: The values that it gives.
        weights: Names of the stored arrays that it reads, single numbers left out.
    """

    scope: str
    traced: bool
    known: bool
    operation: str
    label: str
    takes: tuple[str, ...]
    values: tuple[str, ...]
    weights: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether it gives what its module gives: not where a batch norm was folded into its weights."""
        return not self.traced or self.operation not in FOLDED or self.weights[:1] == (f"{self.scope}.weight",)


def read_nodes(graph: Any) -> list[Node]:
    """Read the nodes whose results depend on the picture, in the order in which they are computed.

    Args:
        graph: An ``onnx.GraphProto``.
    """
    stored = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    data = {value.name for value in graph.input} - stored.keys()
    nodes = []
    for node in graph.node:
        takes = tuple(name for name in dict.fromkeys(_reads(node)) if name in data)
        values = tuple(name for name in node.output if name)
        if node.op_type in NO_DATA or not takes or not values:
            continue
        data.update(values)
        scope, traced, known = _scope(node)
        weights = tuple(name for name in node.input if stored.get(name))
        nodes.append(
            Node(
                scope=scope,
                traced=traced,
                known=known,
                operation=node.op_type,
                label=_label(node, weights),
                takes=takes,
                values=values,
                weights=weights,
            )
        )
    return _placed(nodes)


def _placed(nodes: Sequence[Node]) -> list[Node]:
    """Place the nodes that a later optimisation has put in: inside the module that all around them is inside of."""
    makers: dict[str, str] = {}
    users: dict[str, list[str]] = {}
    for node in nodes:
        for value in node.takes if node.known else ():
            users.setdefault(value, []).append(node.scope)
    placed = []
    for node in nodes:
        near = [makers[value] for value in node.takes if value in makers]
        far = [scope for value in node.values for scope in users.get(value, ())]
        if not node.known and near and far:
            node = dataclasses.replace(node, scope=_common([*near, *far]))
        makers.update(dict.fromkeys(node.values, node.scope))
        placed.append(node)
    return placed


def _common(scopes: Sequence[str]) -> str:
    """Return the path that several begin with, part by part.

    >>> _common(["model.2.cv1.act", "model.2.m.0", "model.2"])
    'model.2'
    """
    columns = zip(*(scope.split(".") for scope in scopes), strict=False)
    return ".".join(parts[0] for parts in itertools.takewhile(lambda parts: len(set(parts)) == 1, columns))


def around(scope: str) -> list[str]:
    """List the paths of the modules around a node, outermost first, its own last.

    >>> around("backbone.block1")
    ['backbone', 'backbone.block1']
    """
    parts = scope.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)] if scope else []


def plain(name: str) -> str:
    """Make a name one that a part of a path may be: without dots, never empty.

    >>> plain("conv2d_0.tmp_0"), plain("::")
    ('conv2d_0_tmp_0', 'value')
    """
    return re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") or "value"


def _reads(node: Any) -> Iterator[str]:
    """Yield what a node reads, inside its branches and loops too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)


def _scope(node: Any) -> tuple[str, bool, bool]:
    """Return the path of the module that a node comes from, whether the older exporter says so, and whether any does.

    The older exporter names a part of a list by the list too: ``/layer1/layer1.0/conv1``.
    """
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    if SCOPES in metadata:
        return _last_scope(metadata[SCOPES]), False, True
    *parts, last = node.name.split("/")
    if parts and parts[0]:
        return ".".join(map(plain, parts)), False, True
    if not parts or not re.fullmatch(rf"{re.escape(node.op_type)}(_\d+)?", last):
        return "", False, False
    path, before = [], ""
    for part in parts[1:]:
        path.append(part.removeprefix(f"{before}."))
        before = re.sub(r"_\d+$", "", part) if part.removeprefix(f"{before}.") == part else part
    return ".".join(path), True, True


def _last_scope(text: str) -> str:
    try:
        *scopes, _ = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return ""
    return re.sub(r"@\d+", "", str(scopes[-1])) if scopes else ""


def _label(node: Any, weights: Iterable[str]) -> str:
    """Name what no module is known of, by its weights' path or by its value's own name."""
    owners = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    if owners:
        return ".".join(map(plain, owners[0].split(".")))
    value = re.sub(r":\d+$", "", next(filter(None, node.output)))
    return ".".join(plain(part) for part in value.strip("/").split("/"))
