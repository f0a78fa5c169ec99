"""What other codebases call the parameters of a Darknet network, and how to recognise theirs.

A naming says what the convolution of a given Darknet section is called there, and its batch norm. From that
and a network's weight slots follows the whole table. The epsilon of batch norm is in no checkpoint, so each
naming also carries the one that its codebase builds its networks with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.models.yolov3 import BLOCKS, yolov3_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from layerscope.models.layout import WeightSlot

__all__ = ["NAMINGS", "Match", "Naming", "recognise"]

Pair = tuple[str, str | None]
"""Prefix of a convolution and of its batch norm; None where it has none."""

NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """One codebase's names.

    Attributes:
        name: What it is called in messages.
        pair: From a slot and its ordinal among the network's slots to the two prefixes; None: no such name.
        eps: The batch norm epsilon of networks saved under these names.
        activation: The activation of networks saved under these names.
        square_sizes: Whether their heads are read as YOLOv5's: centres stretched twofold, sizes squared.
        extras: Parts of further keys in such files that are no weights (anchors, counters).
        telling: Part of a key that must occur, where two codebases differ in nothing else.
    """

    name: str
    pair: Callable[[WeightSlot, int], Pair | None]
    eps: float = 1e-5
    activation: str = "leaky"
    square_sizes: bool = False
    extras: tuple[str, ...] = ()
    telling: str = ""

    def table(self, slots: Sequence[WeightSlot]) -> dict[str, str]:
        """Map each state-dict key of ours to the one that this naming gives it."""
        table: dict[str, str] = {}
        for ordinal, slot in enumerate(slots):
            pair = self.pair(slot, ordinal)
            if pair is None or slot.conv is None or (pair[1] is None) != (slot.norm is None):
                continue
            conv, norm = pair
            for part in ("weight",) if slot.norm else ("weight", "bias"):
                table[f"{slot.conv}.{part}"] = f"{conv}.{part}"
            if slot.norm:
                table |= {f"{slot.norm}.{part}": f"{norm}.{part}" for part in NORM_PARTS}
        return table


# ---------------------------------------------------------------- names that follow the shape of YOLOv3
# Each generator yields the 75 pairs in Darknet's order.


def _bubbliiiing(block: str) -> Iterator[Pair]:
    yield "backbone.conv1", "backbone.bn1"
    for number, residuals in enumerate(BLOCKS, start=1):
        part = f"backbone.{block}{number}"
        yield f"{part}.ds_conv", f"{part}.ds_bn"
        for unit in range(residuals):
            for k in (1, 2):
                yield f"{part}.residual_{unit}.conv{k}", f"{part}.residual_{unit}.bn{k}"
    for scale in range(3):
        for index in range(6):
            yield _inner(f"last_layer{scale}.{index}")
        yield f"last_layer{scale}.6", None
        if scale < 2:
            yield _inner(f"last_layer{scale + 1}_conv")


def _ultralytics_yaml() -> Iterator[Pair]:
    yield _inner("model.0")
    for number, residuals in enumerate(BLOCKS, start=1):
        yield _inner(f"model.{2 * number - 1}")
        for unit in range(residuals):
            index = f"{2 * number}.{unit}" if residuals > 1 else f"{2 * number}"
            for k in (1, 2):
                yield _inner(f"model.{index}.cv{k}")
    scales = (
        ("11.cv1", "11.cv2", "12", "13", "14", "15", "28.m.2", "16"),
        ("19.cv1", "19.cv2", "20.cv1", "20.cv2", "21", "22", "28.m.1", "23"),
        ("26.cv1", "26.cv2", "27.0.cv1", "27.0.cv2", "27.1.cv1", "27.1.cv2", "28.m.0"),
    )
    for scale in scales:
        for index in scale:
            yield (f"model.{index}", None) if ".m." in index else _inner(f"model.{index}")


def _mmdetection() -> Iterator[Pair]:
    yield _inner("backbone.conv1")
    for number, residuals in enumerate(BLOCKS, start=1):
        part = f"backbone.conv_res_block{number}"
        yield _inner(f"{part}.conv")
        for unit in range(residuals):
            for k in (1, 2):
                yield _inner(f"{part}.res{unit}.conv{k}")
    for scale in range(3):
        for k in range(1, 6):
            yield _inner(f"neck.detect{scale + 1}.conv{k}")
        yield _inner(f"bbox_head.convs_bridge.{scale}")
        yield f"bbox_head.convs_pred.{scale}", None
        if scale < 2:
            yield _inner(f"neck.conv{scale + 1}")


def _inner(module: str) -> Pair:
    return f"{module}.conv", f"{module}.bn"


def _by_shape(pairs: Iterator[Pair]) -> Callable[[WeightSlot, int], Pair | None]:
    named = dict(zip((slot.section for slot in yolov3_slots()), pairs, strict=True))
    return lambda slot, _ordinal: named.get(slot.section)


# ------------------------------------------------------- names that follow the sections of a Darknet cfg


def _by_section(conv: str, norm: str) -> Callable[[WeightSlot, int], Pair | None]:
    def pair(slot: WeightSlot, ordinal: int) -> Pair:
        at = {"s": slot.section, "k": ordinal + 1}
        return conv.format(**at), norm.format(**at) if slot.norm else None

    return pair


NAMINGS = (
    Naming(name="bubbliiiing/yolo3-pytorch", pair=_by_shape(_bubbliiiing("layer"))),
    Naming(name="the recipe's block1 to block5", pair=_by_shape(_bubbliiiing("block"))),
    Naming(
        name="eriklindernoren/PyTorch-YOLOv3",
        pair=_by_section("module_list.{s}.conv_{s}", "module_list.{s}.batch_norm_{s}"),
        extras=(".anchors", ".anchor_grid"),
    ),
    Naming(
        name="ultralytics/yolov3 of its Darknet years",
        pair=_by_section("module_list.{s}.Conv2d", "module_list.{s}.BatchNorm2d"),
        eps=1e-4,
        extras=(".anchors", ".anchor_vec", ".anchor_wh", ".stride", ".grid"),
    ),
    Naming(
        name="ultralytics/yolov3 v9.0 to v9.5",
        pair=_by_shape(_ultralytics_yaml()),
        eps=1e-3,
        square_sizes=True,
        extras=(".anchors", ".anchor_grid"),
        telling=".anchor_grid",
    ),
    Naming(
        name="ultralytics/yolov3 since v9.6",
        pair=_by_shape(_ultralytics_yaml()),
        eps=1e-3,
        activation="silu",
        square_sizes=True,
        extras=(".anchors",),
    ),
    Naming(name="mmdetection", pair=_by_shape(_mmdetection())),
    Naming(
        name="Tianxiaomo/pytorch-YOLOv4",
        pair=_by_section("models.{s}.conv{k}", "models.{s}.bn{k}"),
    ),
)
"""Every naming that is recognised beside Layerscope's own. Where two match alike, the first one is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A checkpoint's keys, understood.

    Attributes:
        naming: Whose names they are; None for Layerscope's own.
        keys: From our state-dict keys to the file's.
        found: How many of them the file has.
        by_order: Whether the names said nothing and the order of definition was taken.
    """

    naming: Naming | None
    keys: dict[str, str]
    found: int
    by_order: bool = False

    @property
    def name(self) -> str:
        """Whose names they are, in words."""
        if self.by_order:
            return "unknown names, matched by order and shape"
        return self.naming.name if self.naming else "Layerscope's own naming"


def recognise(file_keys: Collection[str], own_keys: Sequence[str], slots: Sequence[WeightSlot]) -> Match:
    """Find the naming, and the wrapping around it, under which most of our parameters are in the file.

    A wrapping is a prefix that all keys share (``module.`` of DataParallel, ``_orig_mod.`` of
    ``torch.compile``, a trainer's own) or that all lack (a backbone saved alone lacks ``backbone.``).
    """
    present = set(file_keys)
    best = Match(naming=None, keys={}, found=-1)
    tables: list[tuple[Naming | None, dict[str, str]]] = [(None, {key: key for key in own_keys})]
    tables += [
        (naming, naming.table(slots))
        for naming in NAMINGS
        if not naming.telling or any(naming.telling in key for key in present)
    ]
    for added, removed in _wrappings(present):
        for naming, table in tables:
            keys = {
                own: added + theirs.removeprefix(removed) for own, theirs in table.items() if theirs.startswith(removed)
            }
            found = sum(theirs in present for theirs in keys.values())
            if found > best.found:
                best = Match(naming=naming, keys=keys, found=found)
    return best


def _wrappings(keys: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs: what to put before one of a naming's keys, and what to take off its front, to get the file's."""
    yield "", ""
    yield "", "backbone."
    prefix = ""
    while True:
        heads = {key.removeprefix(prefix).split(".", 1)[0] for key in keys if "." in key.removeprefix(prefix)}
        if len(heads) != 1 or any("." not in key.removeprefix(prefix) for key in keys):
            return
        prefix += heads.pop() + "."
        yield prefix, ""
        yield prefix, "backbone."
