"""A TorchScript module whose parts are heard: hooks do not fire inside compiled code, so the code is made to tell.

Around every call of a submodule in the graphs two operators are put that hand its name and what it gave to Python.
They are declared as writing to their tensor, so that no optimisation moves or removes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from layerscope.models.stand_in import stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ScriptModule"]

LIBRARY: Any = torch.library.Library("layerscope", "FRAGMENT")  # type: ignore[no-untyped-call]
LIBRARY.define("enter(Tensor(a!) value, str name) -> ()")
LIBRARY.define("leave(Tensor(a!) value, str name, int left, bool given) -> ()")


class ScriptModule(nn.Module):
    """Runs a TorchScript module; hooks on its parts are called with what they give, as they give it.

    Args:
        script: The module, loaded and not run yet.
    """

    running: list[ScriptModule] = []  # noqa: RUF012 - whose graph runs now; operators have no way to know

    script: Any

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        _tell_of_calls(script)
        self.__dict__["script"] = script  # not a part: its own parts stand for themselves below
        for path, part in script.named_modules():
            if path:
                parent, _, name = path.rpartition(".")
                self.get_submodule(parent).add_module(name, stand_in(_kind(part)))
        self.path: list[str] = []
        self.items: list[Tensor] = []
        self.failure: BaseException | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        self.path, self.items, self.failure = [], [], None
        self.running.append(self)
        try:
            output = self.script(*args, **kwargs)
        finally:
            self.running.pop()
        if self.failure is not None:  # raised by a hook, and not fit to pass through compiled code
            raise self.failure
        return output

    def enter(self, name: str) -> None:
        """Hear that a submodule is called."""
        self.path.extend(name.split("."))

    def leave(self, value: Tensor, name: str, left: int, given: bool) -> None:
        """Hear one tensor that it gave, and how many are left to come."""
        if given:
            self.items.append(value)
        if left:
            return
        path, items = ".".join(self.path), self.items
        del self.path[len(self.path) - name.count(".") - 1 :]
        self.items = []
        if items and self.failure is None:
            try:
                self.get_submodule(path)(items[0] if len(items) == 1 else tuple(items))
            except BaseException as error:
                self.failure = error

    def to(self, *args: Any, **kwargs: Any) -> ScriptModule:
        """Move the script too."""
        self.script.to(*args, **kwargs)
        super().to(*args, **kwargs)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        """Refuse: a copy would tell the original."""
        raise TypeError("a TorchScript module that tells of its parts cannot be copied")


def _kind(part: nn.Module) -> str:
    return getattr(part, "original_name", type(part).__name__)


def _enter(_value: Tensor, name: str) -> None:
    if ScriptModule.running:
        ScriptModule.running[-1].enter(name)


def _leave(value: Tensor, name: str, left: int, given: bool) -> None:
    if ScriptModule.running:
        ScriptModule.running[-1].leave(value, name, left, given)


LIBRARY.impl("enter", _enter, "CompositeExplicitAutograd")
LIBRARY.impl("leave", _leave, "CompositeExplicitAutograd")


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
        if node.kind() == "prim::CallMethod" and node.s("name").startswith("forward"):
            yield node
        for inner in node.blocks():
            yield from _calls(inner)


def _tell_of_call(graph: Any, node: Any) -> None:
    called, *arguments = node.inputs()
    name = _attribute(called.node())
    taken = [value for value in arguments if _is_tensor(value)]
    if not name or not taken:
        return
    graph.setInsertPoint(node)
    named = graph.insertConstant(name)
    graph.insertNode(graph.create("layerscope::enter", [taken[0], named], 0))
    output, after = node.output(), node
    values = [output] if _is_tensor(output) else []
    if output.type().kind() == "TupleType":
        after = graph.create("prim::TupleUnpack", [output], 0)
        for kind in output.type().elements():
            after.addOutput().setType(kind)
        after.insertAfter(node)
        values = [value for value in after.outputs() if _is_tensor(value)]
    given = graph.insertConstant(bool(values))
    for left, value in reversed(list(enumerate(reversed(values or [taken[0]])))):
        told = graph.create("layerscope::leave", [value, named, graph.insertConstant(left), given], 0)
        told.insertAfter(after)
        after = told


def _is_tensor(value: Any) -> bool:
    return bool(value.type().kind() == "TensorType")


def _attribute(node: Any) -> str:
    """Spell the path of a submodule: ``blocks.0`` for what was read as an attribute of an attribute."""
    parts: list[str] = []
    while node.kind() == "prim::GetAttr":
        parts.insert(0, node.s("name"))
        node = next(node.inputs()).node()
    return ".".join(parts)
