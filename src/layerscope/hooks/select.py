"""A selection of layers, as people write it, to a plan: fixed before any tensor moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd

from layerscope.errors import LayerError, UnknownLayerError, nearest
from layerscope.models.operations import is_operation
from layerscope.models.watch import INPUT
from layerscope.models.wrapped import named_layers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["Plan", "Selection", "select"]

Selection: TypeAlias = str | Callable[[str, nn.Module], bool] | Iterable["Selection"]
"""A name (``a.b``; ``a.b:1`` for its second call; ``a.b@in`` for what it is called with; ``a.add`` for the
additions that ``a``'s own forward makes), a glob, a class name, ``stages``, ``convs``, ``modules``, ``operations``,
``all`` (both of these), a callable that takes a module's name and the module, or several of these."""

Calls: TypeAlias = frozenset[int] | None
"""Which calls of a layer are wanted; None: all of them."""

CONVS = frozenset(("Conv", "ConvTranspose"))
"""What ONNX calls convolutions."""

WORDS = ("stages", "convs", "modules", "operations", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which layers are to be caught.

    Attributes:
        layers: Names of modules, in order of definition, to the calls that are wanted; with ``@in`` behind, what
            they are called with.
        operations: Names of operations, likewise.
        patterns: Globs of operations' names; what they fit shows when the network runs.
        asked: Those that were asked for by their very name.
    """

    layers: Mapping[str, Calls] = field(default_factory=dict)
    operations: Mapping[str, Calls] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()
    asked: frozenset[str] = frozenset()

    def wants(self, layer: str, ordinal: int) -> bool:
        """Tell whether this call of this layer or operation is wanted."""
        for known in (self.layers, self.operations):
            if layer in known:
                calls = known[layer]
                if calls is None or ordinal in calls:
                    return True
        return any(fnmatchcase(layer, pattern) for pattern in self.patterns)

    def numbers(self, layer: str) -> bool:
        """Tell whether a layer's calls were asked for by their numbers."""
        return self.layers.get(layer, self.operations.get(layer)) is not None

    @property
    def hears_operations(self) -> bool:
        """Whether operations have to be listened to at all."""
        return bool(self.operations or self.patterns)

    def unheard(self, heard: Collection[str]) -> tuple[str, ...]:
        """Name what is wanted and is not among the layers and operations that were heard."""
        patterns = (one for one in self.patterns if one != "*" and not any(fnmatchcase(name, one) for name in heard))
        return (*(name for name in (*self.layers, *self.operations) if name not in heard), *patterns)


def select(selection: Selection, module: nn.Module, *, stages: Iterable[str] = ()) -> Plan:
    """Turn a selection into a plan.

    Args:
        selection: What is wanted.
        module: The network.
        stages: What ``stages`` means for it.

    Raises:
        UnknownLayerError: A name or pattern fits no layer; the nearest names are in the message.
        LayerError: The selection is empty, or asks for stages of a module that has none.
    """
    found = named_layers(module)
    chosen = _Chosen()
    for item in _items(selection):
        _resolve(item, found, tuple(stages), chosen)
    if not (chosen.layers or chosen.operations or chosen.patterns):
        raise LayerError("no layer is selected")
    points = [point for name in found for point in (name + INPUT, name)]
    return Plan(
        layers={point: _frozen(chosen.layers[point]) for point in points if point in chosen.layers},
        operations={name: _frozen(calls) for name, calls in chosen.operations.items()},
        patterns=tuple(dict.fromkeys(chosen.patterns)),
        asked=frozenset(chosen.asked),
    )


@dataclass(slots=True)
class _Chosen:
    """A plan in the making."""

    layers: dict[str, set[int] | None] = field(default_factory=dict)
    operations: dict[str, set[int] | None] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    def add(self, names: Iterable[str], ordinal: int | None = None, *, operation: bool = False) -> None:
        """Want these names; calls of the same name add up, and no ordinal means all of them."""
        known = self.operations if operation else self.layers
        for name in names:
            if ordinal is None:
                known[name] = None
            elif (wanted := known.setdefault(name, set())) is not None:
                wanted.add(ordinal)

    def ask(self, name: str, ordinal: int | None = None, *, operation: bool = False) -> None:
        """Want what was called by its very name."""
        self.add([name], ordinal, operation=operation)
        self.asked.add(name)


def _frozen(calls: set[int] | None) -> Calls:
    return None if calls is None else frozenset(calls)


def _items(selection: Selection) -> Iterable[str | Callable[[str, nn.Module], bool]]:
    if isinstance(selection, str) or callable(selection):
        return [selection]
    if not isinstance(selection, Iterable):
        raise LayerError(
            f"layers: expected names, patterns or a callable, got {type(selection).__name__} {selection!r}"
        )
    return [item for part in selection for item in _items(part)]


def _resolve(
    item: str | Callable[[str, nn.Module], bool],
    found: Mapping[str, nn.Module],
    stages: tuple[str, ...],
    chosen: _Chosen,
) -> None:
    """Add what one item means."""
    if callable(item):
        chosen.add(name for name, child in found.items() if item(name, child))
        return
    path, colon, digits = item.rpartition(":")
    ordinal = int(digits) if colon and digits.isdecimal() else None
    name = item if ordinal is None else path
    if item == "stages" and stages:  # also where a module is called so: that is stages:0
        for stage in stages:
            chosen.ask(stage)
    elif name.removesuffix(INPUT) in found:
        chosen.ask(name, ordinal)
    elif item == "stages":
        raise LayerError("stages: this network does not say which its stages are; name layers instead")
    elif item not in WORDS and _is_operation_of(name, found):
        chosen.ask(name, ordinal, operation=True)
    else:
        _pattern(item, found, chosen)


def _is_operation_of(name: str, found: Mapping[str, nn.Module]) -> bool:
    """Tell whether a name is a module's, or none for the network itself, and an operation's that it may call."""
    path, _, operation = name.removesuffix("()").rpartition(".")
    return (not path or path in found) and is_operation(operation)


def _pattern(item: str, found: Mapping[str, nn.Module], chosen: _Chosen) -> None:
    """Add what a word, a class name or a glob fits; a glob that fits no module may fit operations."""
    if item in ("operations", "all"):
        chosen.patterns.append("*")
    if item in ("modules", "all"):
        chosen.add(found)
    if item in WORDS and item != "convs":
        return
    pattern = item.removesuffix(INPUT)
    if item == "convs":
        names = [name for name, child in found.items() if isinstance(child, _ConvNd) or _kind(child) in CONVS]
    else:
        names = [
            name
            for name, child in found.items()
            if _kind(child) == pattern or (_is_glob(pattern) and fnmatchcase(name, pattern))
        ]
    if names:
        chosen.add(name + item[len(pattern) :] for name in names)
    elif _may_fit_operations(item, found):
        chosen.patterns.append(item)
    else:
        raise UnknownLayerError(f"no layer is called or fits {item!r}{_suggest(item, found)}")


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _is_glob(pattern: str) -> bool:
    return bool(set("*?[") & set(pattern))


def _may_fit_operations(pattern: str, found: Mapping[str, nn.Module]) -> bool:
    """Tell whether a glob has a module's path, or one that fits some, and an operation's own name behind."""
    path, _, operation = pattern.rpartition(".")
    return _is_glob(path) and is_operation(operation) and any(fnmatchcase(name, path) for name in found)


def _suggest(item: str, found: Mapping[str, nn.Module]) -> str:
    types = {type(child).__name__ for child in found.values()}
    hint = nearest(item, [*found, *types, *WORDS])
    if hint or not found:
        return hint
    few = list(found)[:3]
    return f"; the layers are {', '.join(few)}, ... ({len(found)} in all; `layerscope layers` lists them)"
