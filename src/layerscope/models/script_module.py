"""A TorchScript module whose parts are heard: hooks do not fire inside compiled code, so the code is made to tell.

Around every call of a submodule in the graphs operators are put that hand its name, and what it gave, to Python. They
are declared as free to do anything, so that no optimisation moves or removes them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from layerscope.models.stand_in import place, stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ScriptModule"]


class ScriptModule(nn.Module):
    """Runs a TorchScript module; hooks on its parts are called with what they give, as they give it.

    Args:
        script: The module, loaded and not run yet.

    Attributes:
        told: What the code has told in this run.
        script: The module itself; no part of this one, for its own parts stand for themselves.
    """

    told: Told
    script: Any

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        parts: dict[str, nn.Module] = {}
        # Not by assignment, which refuses names that a part has as well.
        self.__dict__.update(script=script, told=Told(parts))
        _tell_of_calls(script)
        for path, part in script.named_modules():
            if path:
                parts[path] = place(self, path, stand_in(getattr(part, "original_name", type(part).__name__)))

    def forward(self, x: Tensor) -> Any:
        """Run it, on the device where its weights are."""
        weights = next(self.script.parameters(), x)
        self.told.start()
        running.append(self.told)
        try:
            output = self.script(x.to(weights.device))
        finally:
            running.pop()
        if self.told.failure is not None:  # raised by a hook, and not fit to pass through compiled code
            raise self.told.failure
        return output

    def to(self, *args: Any, **kwargs: Any) -> ScriptModule:
        """Move the script, for there is nothing else to move."""
        self.script.to(*args, **kwargs)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        """Refuse: a copy would tell the original."""
        raise TypeError("a TorchScript module that tells of its parts cannot be copied")


class Told:
    """What compiled code tells while it runs: which submodules are called, one inside another, and what each gives.

    Args:
        parts: The stand-ins by their paths.
    """

    def __init__(self, parts: dict[str, nn.Module]) -> None:
        self.parts = parts
        self.start()

    def start(self) -> None:
        """Forget the run before."""
        self.path: list[str] = []
        self.items: list[Any] = []
        self.failure: BaseException | None = None

    def enter(self, name: str) -> None:
        """Hear that a submodule is called, by its path inside the one that calls it."""
        self.path.append(name)

    def item(self, value: Any) -> None:
        """Hear what it gave: all of it, or the next item of several; None for what is no tensor."""
        self.items.append(value)

    def leave(self) -> None:
        """Hear that this was all; a submodule that gave no tensor is not spoken of."""
        part = self.parts[".".join(self.path)]
        self.path.pop()
        items, self.items = self.items, []
        if self.failure is None and any(item is not None for item in items):
            try:
                part(items[0] if len(items) == 1 else tuple(items))
            except BaseException as error:
                self.failure = error


running: list[Told] = []
"""Whose graphs run now, the innermost last; operators have no other way to know."""


def _tell(what: Callable[..., None]) -> Callable[..., None]:
    def tell(*args: Any) -> None:
        if running:  # a script may also run by itself
            what(running[-1], *args)

    return tell


LIBRARY: Any = torch.library.Library("layerscope", "FRAGMENT")  # type: ignore[no-untyped-call]
for schema, what in (
    ("enter(str name) -> ()", Told.enter),
    ("item(Tensor? value) -> ()", Told.item),
    ("items(Tensor[] values) -> ()", Told.item),
    ("keyed(Dict(str, Tensor) values) -> ()", Told.item),
    ("leave() -> ()", Told.leave),
):
    LIBRARY.define(schema, alias_analysis="CONSERVATIVE")
    LIBRARY.impl(schema.partition("(")[0], _tell(what), "CompositeExplicitAutograd")

OPERATORS = {
    "Tensor": "layerscope::item",
    "Optional[Tensor]": "layerscope::item",
    "List[Tensor]": "layerscope::items",
    "Dict[str, Tensor]": "layerscope::keyed",
}
"""What takes a value of each type."""


def _tell_of_calls(script: torch.jit.ScriptModule) -> None:
    """Put the operators around every call of a submodule, once in every graph."""
    done = set()
    for part in script.modules():
        compiled: Any = part._c
        for name in compiled._method_names():
            if (key := (compiled._type().qualified_name(), name)) not in done:
                done.add(key)
                graph = compiled._get_method(name).graph
                for node in list(_calls(graph)):
                    _tell_of_call(graph, node)


def _calls(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        if node.kind() == "prim::CallMethod":
            yield node
        for inner in node.blocks():
            yield from _calls(inner)


def _tell_of_call(graph: Any, node: Any) -> None:
    """Put the operators around one call.

    Of a method that is not its forward a module gives nothing, as with hooks, but those inside of it have its path.
    """
    name = _attribute(next(node.inputs()).node())
    if not name:
        return
    graph.setInsertPoint(node)
    graph.insertNode(graph.create("layerscope::enter", [graph.insertConstant(name)], 0))
    after = node
    told: list[tuple[str, list[Any]]] = [("layerscope::leave", [])]
    if re.fullmatch(r"forward\d*", node.s("name")):  # numbered where a trace has called it again
        values = [node.output()]
        if node.output().type().kind() == "TupleType":
            after, values = _unpacked(graph, node)
        nothing = graph.insertConstant(None)
        kinds = [OPERATORS.get(value.type().annotation_str) for value in values]
        told = [
            (kind, [value]) if kind else (OPERATORS["Tensor"], [nothing])
            for kind, value in zip(kinds, values, strict=True)
        ] + told
    for operator, arguments in told:
        teller = graph.create(operator, arguments, 0)
        teller.insertAfter(after)
        after = teller


def _unpacked(graph: Any, node: Any) -> tuple[Any, list[Any]]:
    """Take a tuple apart; return the node that does, and the items."""
    output = node.output()
    unpack = graph.create("prim::TupleUnpack", [output], 0)
    for kind in output.type().elements():
        unpack.addOutput().setType(kind)
    unpack.insertAfter(node)
    return unpack, list(unpack.outputs())


def _attribute(node: Any) -> str:
    """Spell the path of a submodule: ``blocks.0`` for what was read as an attribute of an attribute."""
    parts: list[str] = []
    while node.kind() == "prim::GetAttr":
        parts.insert(0, node.s("name"))
        node = next(node.inputs()).node()
    return ".".join(parts)
