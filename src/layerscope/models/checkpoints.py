"""Reading PyTorch checkpoints without running code, and putting them into a module by whatever names they use."""

from __future__ import annotations

import codecs
import pickle
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from layerscope.errors import UnsafeWeightsError, WeightsError, WeightsMismatchError
from layerscope.models.naming import Match, recognise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from layerscope.models.layout import WeightSlot

__all__ = ["Fitted", "find_state", "fit", "kind_of", "read_state", "read_torch"]

WRAPPERS = (
    "ema",
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "network",
    "params",
    "weights",
)
"""Keys under which training scripts put the state dict; averaged weights first, being what they evaluate."""

SAFETENSORS_HEADER_LIMIT = 100_000_000
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def kind_of(head: bytes) -> str | None:
    """Tell a weights file by its first bytes (at least 32 of them, where the file has as many).

    Returns:
        ``torch``, ``safetensors``, ``pickle`` (of something else), ``text``, or None where it may be Darknet's.
    """
    if head.startswith((b"PK\x03\x04", LEGACY_TORCH)):
        return "torch"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < SAFETENSORS_HEADER_LIMIT:
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    return "text" if head and _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a letter may be cut at the end
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)


def read_state(path: Path, kind: str, *, trust_pickle: bool = False) -> dict[str, Tensor]:
    """Read the state dict out of a PyTorch or safetensors file, memory mapped where the format allows.

    Args:
        path: The file.
        kind: What ``kind_of`` said.
        trust_pickle: Unpickle whatever the file asks for. That runs code of the file's author.

    Returns:
        Flat names to tensors on the CPU, wrappers (``{"model": ...}`` and the like) taken off.

    Raises:
        UnsafeWeightsError: The file wants to run code and is not trusted.
        WeightsError: It cannot be read, or holds no state dict.
    """
    if kind == "safetensors":
        return _read_safetensors(path)
    loaded = read_torch(path, trust_pickle=trust_pickle)
    state = find_state(loaded)
    if state is None:
        raise WeightsError(f"{path}: holds no state dict (a mapping of names to tensors), but {_describe(loaded)}")
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({_line(error)})") from None


def read_torch(path: Path, *, trust_pickle: bool) -> Any:
    """Read whatever a PyTorch file holds, without running code unless it is trusted.

    Raises:
        UnsafeWeightsError: It wants to run code and is not trusted.
        WeightsError: It cannot be read.
    """
    mapped = zipfile.is_zipfile(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle, mmap=mapped or None)
    except pickle.UnpicklingError as error:
        if trust_pickle or "weights_only" not in str(error).lower():
            raise WeightsError(f"{path}: not a whole PyTorch file ({_line(error)})") from None
        raise UnsafeWeightsError(
            f"{path}: wants {_wanted_global(str(error))} when it is unpickled, which could run any code; save its "
            "state_dict() alone, or, if you trust whoever made it, say --trust-pickle (trust_pickle=True)"
        ) from None
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{path}: is a pickled module whose classes cannot be imported here ({_line(error)}); "
            "save its state_dict() where they can"
        ) from None
    except Exception as error:  # torch.load raises whatever its parsers stumble over
        raise WeightsError(f"{path}: not a whole PyTorch file ({_line(error)})") from None


def _wanted_global(message: str) -> str:
    for mark in ("GLOBAL ", "Unsupported global: GLOBAL "):
        if mark in message:
            return message.split(mark, 1)[1].split()[0].strip("'\"`,")
    return "something other than tensors"


def find_state(loaded: Any) -> dict[str, Tensor] | None:
    """Look for the state dict in what was unpickled; wrappers may be nested."""
    if isinstance(loaded, torch.nn.Module):
        return dict(loaded.float().state_dict())
    if not hasattr(loaded, "items"):
        return None
    for key in WRAPPERS:
        inner = loaded.get(key)
        if hasattr(inner, "items") or isinstance(inner, torch.nn.Module):
            found = find_state(inner)
            if found is not None:
                return found
    tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    tensors.pop("n_averaged", None)  # the counter of an averaged model
    return tensors or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What of a checkpoint goes into a network.

    Attributes:
        state: Our keys to tensors, floats as float32.
        match: Whose naming the file uses.
        missing: Our keys that it lacks.
        left_over: Its keys that have no place.
        misshapen: Our keys whose tensor has another shape there: (key, shape there, shape here).
    """

    state: dict[str, Tensor]
    match: Match
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def whole(self) -> bool:
        """Whether the file fits without remainder."""
        return not (self.missing or self.left_over or self.misshapen)

    def refusal(self, path: Path, network: str) -> WeightsMismatchError:
        """Phrase the error for a file that does not fit."""
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} missing ({_first(self.missing)})")
        if self.left_over:
            parts.append(f"{len(self.left_over)} left over ({_first(self.left_over)})")
        if self.misshapen:
            shapes = [f"{key}: {there} in the file, {here} wanted" for key, there, here in self.misshapen]
            parts.append(f"{len(self.misshapen)} of another shape ({_first(shapes)})")
        if self.match.found > 0:
            looks = f"its names look like {self.match.name}"
        else:
            looks = "its names are none that Layerscope knows"
        return WeightsMismatchError(
            f"{path} does not fit {network}: {'; '.join(parts)}; {looks}; --partial (partial=True) takes what fits"
        )


def fit(file: Mapping[str, Tensor], own: Mapping[str, tuple[int, ...]], slots: Sequence[WeightSlot]) -> Fitted:
    """Match a checkpoint's tensors with a network's.

    Args:
        file: The file's names to tensors.
        own: The network's state-dict keys to shapes.
        slots: The network's weight slots, for other codebases' names.
    """
    match = recognise(file.keys(), tuple(own), slots)
    if match.found < len(own) // 2:
        match = _by_order(file, own, slots) or match
    state: dict[str, Tensor] = {}
    missing, misshapen = [], []
    for key, shape in own.items():
        theirs = match.keys.get(key)
        if theirs is None or theirs not in file:
            if key.endswith("num_batches_tracked"):
                state[key] = torch.zeros((), dtype=torch.long)  # absent from files of old PyTorch versions
            else:
                missing.append(key)
        elif tuple(file[theirs].shape) != shape:
            misshapen.append((key, tuple(file[theirs].shape), shape))
        else:
            tensor = file[theirs]
            state[key] = tensor.float() if tensor.is_floating_point() else tensor
    extras = match.naming.extras if match.naming else ()
    used = set(match.keys.values())
    left_over = tuple(key for key in file if key not in used and not any(part in key for part in extras))
    return Fitted(
        state=state,
        match=match,
        missing=tuple(missing),
        left_over=left_over,
        misshapen=tuple(misshapen),
    )


def _by_order(
    file: Mapping[str, Tensor], own: Mapping[str, tuple[int, ...]], slots: Sequence[WeightSlot]
) -> Match | None:
    """Match by definition order where the names say nothing: only if every part and every shape agrees."""
    ours = [
        f"{prefix}.{part}"
        for slot in slots
        for prefix, parts in (
            (slot.conv, ("weight",) if slot.norm else ("weight", "bias")),
            (slot.norm, ("weight", "bias", "running_mean", "running_var")),
        )
        if prefix is not None
        for part in parts
    ]
    theirs = [key for key in file if not key.endswith("num_batches_tracked")]
    if len(ours) != len(theirs) or not set(ours) <= set(own):
        return None
    for mine, foreign in zip(ours, theirs, strict=True):
        if mine.rsplit(".", 1)[-1] != foreign.rsplit(".", 1)[-1] or own[mine] != tuple(file[foreign].shape):
            return None
    keys = dict(zip(ours, theirs, strict=True))
    for slot in slots:
        if slot.norm and slot.conv:
            foreign = keys[f"{slot.norm}.weight"].removesuffix("weight") + "num_batches_tracked"
            if foreign in file:
                keys[f"{slot.norm}.num_batches_tracked"] = foreign
    return Match(naming=None, keys=keys, found=len(keys), by_order=True)


def _first(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    return ", ".join(items[:count]) + (", ..." if len(items) > count else "")


def _describe(loaded: Any) -> str:
    if hasattr(loaded, "keys"):
        return f"a mapping with the keys {_first(map(str, loaded.keys()), 5) or '(none)'}"
    return f"a {type(loaded).__name__}"


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__
