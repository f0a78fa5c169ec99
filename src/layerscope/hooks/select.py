"""A selection of layers, as people write it, to a plan: fixed before any tensor moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd

from layerscope.errors import LayerError, UnknownLayerError, nearest
from layerscope.models.watch import named_layers

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Plan", "Selection", "select"]

Selection: TypeAlias = str | Callable[[str, nn.Module], bool] | Iterable["Selection"]
"""A name (``a.b``, or ``a.b:1`` for its second call), a glob, a class name, ``stages``, ``convs``, ``all``,
a callable that takes a layer's name and module, or several of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which layers are to be caught.

    Attributes:
        layers: Names of modules, in order of definition, each to the calls that are wanted; None: all of them.
        asked: Those that were asked for by their very name.
    """

    layers: Mapping[str, frozenset[int] | None]
    asked: frozenset[str]

    def wants(self, layer: str, ordinal: int) -> bool:
        """Tell whether this call of this layer is wanted."""
        calls = self.layers[layer]
        return calls is None or ordinal in calls


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
    calls: dict[str, set[int] | None] = {}
    asked: set[str] = set()
    for item in _items(selection):
        names, ordinal, by_name = _resolve(item, found, tuple(stages))
        for name in names:
            if ordinal is None:
                calls[name] = None
            elif (wanted := calls.setdefault(name, set())) is not None:
                wanted.add(ordinal)
        if by_name:
            asked.update(names)
    if not calls:
        raise LayerError("no layer is selected")
    layers = {
        name: None if wanted is None else frozenset(wanted)
        for name in found
        if name in calls
        for wanted in (calls[name],)
    }
    return Plan(layers=layers, asked=frozenset(asked))


def _items(selection: Selection) -> Iterable[str | Callable[[str, nn.Module], bool]]:
    if isinstance(selection, str) or callable(selection):
        return [selection]
    if not isinstance(selection, Iterable):
        raise LayerError(
            f"layers: expected names, patterns or a callable, got {type(selection).__name__} {selection!r}"
        )
    return [item for part in selection for item in _items(part)]


def _resolve(
    item: str | Callable[[str, nn.Module], bool], found: Mapping[str, nn.Module], stages: tuple[str, ...]
) -> tuple[list[str], int | None, bool]:
    """Return the layers that one item means, which call of them, and whether it is a layer's very name."""
    if callable(item):
        return [name for name, child in found.items() if item(name, child)], None, False
    if item in found:
        return [item], None, True
    path, colon, ordinal = item.rpartition(":")
    if colon and ordinal.isdecimal() and path in found:
        return [path], int(ordinal), True
    if item == "stages":
        if not stages:
            raise LayerError("stages: this network does not say which its stages are; name layers instead")
        return list(stages), None, True
    return _pattern(item, found), None, False


def _pattern(item: str, found: Mapping[str, nn.Module]) -> list[str]:
    if item == "all":
        names = list(found)
    elif item == "convs":
        names = [name for name, child in found.items() if isinstance(child, _ConvNd)]
    else:
        names = [
            name
            for name, child in found.items()
            if type(child).__name__ == item or (set("*?[") & set(item) and fnmatchcase(name, item))
        ]
    if not names:
        raise UnknownLayerError(f"no layer is called or fits {item!r}{_suggest(item, found)}")
    return names


def _suggest(item: str, found: Mapping[str, nn.Module]) -> str:
    types = {type(child).__name__ for child in found.values()}
    hint = nearest(item, [*found, *types, "stages", "convs", "all"])
    if hint or not found:
        return hint
    few = list(found)[:3]
    return f"; the layers are {', '.join(few)}, ... ({len(found)} in all; `layerscope layers` lists them)"
