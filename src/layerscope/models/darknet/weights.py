"""Darknet's ``.weights`` format: numbers in the cfg's order, without names, behind a short header.

The header is three int32 (major, minor, revision) and the number of pictures seen in training: 8 bytes from
version 0.2 on, else 4. Then float32, little endian, slot after slot. With a major or minor above 1000 the
weights of ``[connected]`` are stored transposed (``load_weights_upto`` in Darknet's ``src/parser.c``).
"""

from __future__ import annotations

import math
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from layerscope.errors import OutputError, WeightsError, WeightsMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from layerscope.models.layout import WeightSlot

__all__ = [
    "DarknetWeights",
    "Header",
    "count_numbers",
    "looks_like_weights",
    "read_weights",
    "slot_numbers",
    "write_weights",
]

LARGEST_VERSION = 9_999
HEADER_BYTES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The start of a ``.weights`` file.

    Attributes:
        major: First part of the version.
        minor: Second part of the version.
        revision: Third part of the version.
        seen: Number of pictures that the network was trained on.
    """

    major: int
    minor: int
    revision: int
    seen: int

    @property
    def size_bytes(self) -> int:
        """Bytes in front of the first number: 20, or 16 before version 0.2."""
        return 20 if self.major * 10 + self.minor >= 2 else 16

    @property
    def version(self) -> str:
        """The three parts as one text: ``0.2.5``."""
        return f"{self.major}.{self.minor}.{self.revision}"

    @property
    def transposed(self) -> bool:
        """Whether the weights of ``[connected]`` are stored as (inputs, outputs)."""
        return self.major > 1000 or self.minor > 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DarknetWeights:
    """What a ``.weights`` file holds for a network.

    Attributes:
        state: State dict of the slots that were filled; its tensors lie in a copy-on-write memory map of
            the file, so changing one never changes the file.
        header: The file's header.
        filled: How many slots the file fills.
        total: How many the network has. Where ``filled`` is smaller, the file was cut on purpose, as
            ``darknet53.conv.74`` was.
    """

    state: dict[str, Tensor]
    header: Header
    filled: int
    total: int


def read_weights(path: str | Path, slots: Sequence[WeightSlot], shapes: Mapping[str, Sequence[int]]) -> DarknetWeights:
    """Read a ``.weights`` file without a second copy of it in memory.

    Args:
        path: The file.
        slots: The network's slots in the file's order.
        shapes: Shape of each of the slots' keys.

    Returns:
        The tensors, in the file's order.

    Raises:
        WeightsError: It cannot be read, has no such header, or ends inside a slot.
        WeightsMismatchError: It holds more numbers than the network has.
    """
    file = Path(path)
    header, size_bytes = _open_header(file)
    filled, end = _filled(file, header, size_bytes, slots, shapes)
    if not end:  # a network without weights; an empty map cannot be made
        return DarknetWeights(state={}, header=header, filled=filled, total=len(slots))
    numbers = np.memmap(file, dtype="<f4", mode="c", offset=header.size_bytes, shape=(end,))
    values = torch.from_numpy(numbers)
    state: dict[str, Tensor] = {}
    at = 0
    for slot in slots[:filled]:
        for key in slot.keys:
            shape = tuple(shapes[key])
            count = math.prod(shape)
            part = values[at : at + count]
            at += count
            if header.transposed and len(shape) == 2:  # only [connected] has weights of two axes
                state[key] = part.view(shape[::-1]).t()
            else:
                state[key] = part.view(shape)
    return DarknetWeights(state=state, header=header, filled=filled, total=len(slots))


def write_weights(path: str | Path, slots: Sequence[WeightSlot], state: Mapping[str, Tensor], seen: int = 0) -> None:
    """Write a ``.weights`` file of version 0.2.5, whole or not at all.

    Args:
        path: The file; an existing one is replaced.
        slots: The network's slots in the file's order.
        state: A state dict with every key of the slots.
        seen: Number of pictures that the network was trained on.

    Raises:
        WeightsMismatchError: The state dict lacks a key.
        OutputError: The file cannot be written.
    """
    missing = [key for slot in slots for key in slot.keys if key not in state]
    if missing:
        raise WeightsMismatchError(f"{len(missing)} of the slots' keys are not in the state dict, first {missing[0]}")
    file = Path(path)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with unfinished.open("wb") as stream:
            stream.write(struct.pack("<iiiQ", 0, 2, 5, seen))
            for slot in slots:
                for key in slot.keys:
                    values = state[key].detach().to("cpu", torch.float32).contiguous().numpy()
                    stream.write(values.astype("<f4", copy=False).tobytes())
        unfinished.replace(file)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OutputError(f"{file}: the weights cannot be written: {error.strerror or error}") from error


def looks_like_weights(first_bytes: bytes) -> bool:
    """Tell a ``.weights`` file by its first bytes (20 are enough).

    >>> looks_like_weights(struct.pack("<iiiQ", 0, 2, 5, 32013312))
    True
    >>> looks_like_weights(b"PK" + bytes(30))
    False
    """
    header = _parse_header(first_bytes)
    return header is not None and header.seen < 2**48


def count_numbers(path: str | Path) -> int:
    """Count the float32 numbers of a ``.weights`` file from its size and header.

    From this the number of classes can be worked out: each adds a known count to the heads.

    Raises:
        WeightsError: It cannot be read or has no such header.
    """
    header, size_bytes = _open_header(Path(path))
    return (size_bytes - header.size_bytes) // 4


def slot_numbers(slot: WeightSlot, shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the numbers that a slot takes in a file; ``shapes`` as in :func:`read_weights`."""
    return sum(math.prod(shapes[key]) for key in slot.keys)


def _open_header(file: Path) -> tuple[Header, int]:
    """Read a file's header and its size in bytes."""
    try:
        with file.open("rb") as stream:
            first = stream.read(HEADER_BYTES)
            size_bytes = os.fstat(stream.fileno()).st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsError(f"{file}: the weights cannot be read: {reason}") from error
    header = _parse_header(first)
    if header is None:
        reason = "no Darknet header" if len(first) == HEADER_BYTES else f"only {len(first)} bytes"
        raise WeightsError(f"{file}: not a Darknet .weights file: {reason}")
    return header, size_bytes


def _parse_header(first: bytes) -> Header | None:
    """Read a header, or give None where the bytes cannot be one."""
    if len(first) < 16:
        return None
    major, minor, revision = struct.unpack_from("<iii", first)
    versions = (major, minor, revision)
    if min(versions) < 0 or max(versions) > LARGEST_VERSION or major == minor == 0:
        return None
    wide = major * 10 + minor >= 2
    if wide and len(first) < 20:
        return None
    (seen,) = struct.unpack_from("<Q" if wide else "<I", first, 12)
    return Header(major=major, minor=minor, revision=revision, seen=seen)


def _filled(
    file: Path,
    header: Header,
    size_bytes: int,
    slots: Sequence[WeightSlot],
    shapes: Mapping[str, Sequence[int]],
) -> tuple[int, int]:
    """Find how many slots a file fills to the last byte, and how many numbers these are."""
    sizes = [4 * slot_numbers(slot, shapes) for slot in slots]
    expected = header.size_bytes + sum(sizes)
    end = header.size_bytes
    for filled, (slot, size) in enumerate(zip(slots, sizes, strict=True)):
        if end == size_bytes and filled:
            return filled, (end - header.size_bytes) // 4
        if end + size > size_bytes:
            raise WeightsError(
                f"{file}: it ends inside the weights of section {slot.section}: {size_bytes} bytes came, "
                f"{expected} were expected; it was cut short, or belongs to another network"
            )
        end += size
    if end < size_bytes:
        raise WeightsMismatchError(
            f"{file}: it belongs to another network: {size_bytes} bytes came, {expected} were expected, "
            f"so {size_bytes - end} are left over"
        )
    return len(slots), (end - header.size_bytes) // 4
