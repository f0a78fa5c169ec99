"""The values of all frames of a run: ``values.zarr``, one array a layer.

The format is Zarr 3 (https://zarr-specs.readthedocs.io/en/latest/v3/core/): a chunk a frame, many chunks in a shard,
so that any frame is read alone and there are few files.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from layerscope.errors import LayerError, RunFolderError
from layerscope.extras import require
from layerscope.hooks.feature_map import as_plain
from layerscope.sinks.segments import short_name, write_whole
from layerscope.sinks.sink import FLUSH_EVERY
from layerscope.sinks.tensors import as_type, from_eight_bits, to_eight_bits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.manifest import FrameRecord
    from layerscope.sinks.sink import Ending, Write

__all__ = ["Zarr", "read_row"]

STORE = "values.zarr"
SHARD_BYTES = 16 << 20
"""A shard holds so many frames that it is not larger than about this, before compression."""

METADATA = "zarr.json"

COMPRESSOR, LEVEL = "lz4", 5

CHECKSUM_BYTES = 4

NO_CHUNK = 2**64 - 1
"""Stands in a shard's index for a row that it does not hold."""


class Zarr:
    """Writes the values of all frames into one Zarr store.

    Each layer is a group that is named like its folder, with the layer's name in the attribute ``layer``. In it lie
    ``values``, whose first axis is ``frame``, a frame's ``row`` in the manifest; and under ``q8``, where they are
    uint8, ``scale`` and ``offset``, (frames, channels) float32: ``values * scale + offset``.

    Args:
        tensor_type: ``f32``, ``f16`` or ``q8``.
    """

    kind = "zarr"
    draws = False
    colormap = None

    def __init__(self, tensor_type: str = "f32") -> None:
        self.tensor_type = tensor_type

    def take(self, feature_map: FeatureMap, scaled: Scaled | None) -> Write:  # noqa: ARG002
        """Compress the values at once, so that no copy of them waits; what comes from a GPU is a copy already."""
        values = as_plain(feature_map.values.detach())
        if self.tensor_type == "q8":
            arrays: Mapping[str, NDArray[Any]] = to_eight_bits(values)
        else:
            arrays = {"values": as_type(values, self.tensor_type)}
            if not arrays["values"].dtype.name.endswith(self.tensor_type.removeprefix("f")):
                raise LayerError(
                    f"{feature_map.layer}: holds values beyond 65504, which half precision cannot; write it as f32"
                )
        axes = _axis_names(feature_map)

        def compressed() -> _Piece:
            return _Piece(chunks={name: _Chunk.of(array) for name, array in arrays.items()}, axes=axes)

        if values.device.type != "cpu":
            return lambda _target: compressed()
        piece = compressed()
        return lambda _target: piece

    def begin(self, folder: Path, encoders: Executor) -> _Gathering:  # noqa: ARG002 - what it is given is compressed
        """Begin, or go on."""
        return _Gathering(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """An array of one frame, compressed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    content: bytes

    @classmethod
    def of(cls, array: NDArray[Any]) -> _Chunk:
        """Compress an array, by zarr's own codec and as the metadata say."""
        blosc = require("numcodecs", "zarr").blosc
        shuffle = getattr(blosc, _shuffle(array.dtype).upper())
        content = blosc.Blosc(COMPRESSOR, LEVEL, shuffle).encode(array)
        return cls(shape=array.shape, dtype=array.dtype, content=bytes(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """What is kept of one layer of one frame: arrays by name, and the names of the axes of ``values``."""

    chunks: Mapping[str, _Chunk]
    axes: tuple[str, ...]


def _shuffle(dtype: np.dtype[Any]) -> str:
    """Say how the bits of numbers are arranged before compression."""
    return "bitshuffle" if dtype.itemsize > 1 else "noshuffle"


def _axis_names(feature_map: FeatureMap) -> tuple[str, ...]:
    """Name the axes of a map's values."""
    numbered = tuple(f"axis{index}" for index in range(feature_map.values.ndim))
    try:
        kind, order = feature_map.axes.kind, feature_map.axes.order
    except LayerError:
        return numbered
    by_order = {"maps": ("channel", "y", "x"), "volume": ("channel", "z", "y", "x"), "numbers": ("channel",)}
    names = by_order.get(kind, ("channel", "token") if kind == "tokens" else ("channel", "position"))
    if len(names) != len(order):
        return numbered
    return tuple(names[order.index(axis)] for axis in range(len(order)))


class _Gathering:
    """The arrays of one run.

    Args:
        folder: Holds a folder a layer; each array in it is whole but for its length, which is set at the end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._arrays: dict[tuple[str, str], _Array] = {}

    def add(self, row: int, frame: FrameRecord, pieces: Mapping[str, _Piece]) -> None:
        """Take a frame's values."""
        for layer, piece in pieces.items():
            for name, chunk in piece.chunks.items():
                if (layer, name) not in self._arrays:
                    axes = piece.axes if name == "values" else (piece.axes[:1] or ("entry",))
                    self._arrays[layer, name] = _Array(self._folder / short_name(layer) / name, chunk, axes)
                array = self._arrays[layer, name]
                if chunk.shape != array.shape or chunk.dtype != array.dtype:
                    raise LayerError(
                        f"{layer}: gave shape {chunk.shape} for {frame.name}, {array.shape} before; an array holds "
                        "one shape, so write tensors instead of zarr"
                    )
                array.add(row, chunk.content)

    def flush(self) -> None:
        """End what is begun."""
        for array in self._arrays.values():
            array.flush()

    def close(self) -> None:
        """Nothing is open."""

    def finish(self, ending: Ending) -> Mapping[str, Mapping[str, str]]:
        """Give all arrays their length, and the whole its place."""
        staged, final = self._folder / STORE, ending.out / STORE
        staged.mkdir(exist_ok=True)
        written = {"": STORE}
        for layer, name in ending.folders.items():
            own, place = self._folder / short_name(layer), staged / name
            if own.exists():
                for metadata in own.glob(f"*/{METADATA}"):
                    _set_length(metadata, len(ending.times_s) - 1)
                write_whole(own / METADATA, _group({"layer": layer}))
                own.rename(place)
            if place.exists() or (final / name / METADATA).exists():
                written[layer] = f"{STORE}/{name}"
        if any(staged.iterdir()):
            write_whole(staged / METADATA, _group({}))
            shutil.rmtree(final, ignore_errors=True)
            staged.rename(final)
        return {"zarr": written}


class _Array:
    """One array of a layer, a file a shard.

    Args:
        folder: Its folder; one of an earlier start is gone on with.
        first: The first frame's values.
        axes: The names of the axes of ``values``.
    """

    def __init__(self, folder: Path, first: _Chunk, axes: tuple[str, ...]) -> None:
        self._folder = folder
        self.shape, self.dtype = first.shape, first.dtype
        self._rows = _rows_of_shard(first)
        if not (folder / METADATA).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / METADATA, _metadata(first, self._rows, axes))
        self._number = 0
        self._places: dict[int, tuple[int, int]] = {}

    def add(self, row: int, content: bytes) -> None:
        """Append a frame's values to its shard."""
        number, place = divmod(row, self._rows)
        if number != self._number:
            self.flush()
        if not self._places:
            self._number = number
            for earlier, kept in self._written(place):  # the last one of a run that was stopped
                self._append(earlier, kept)
        self._append(place, content)

    def flush(self) -> None:
        """End the shard, and with that give it its name."""
        if self._places:
            with self._part.open("ab") as stream:
                stream.write(_index(self._places, self._rows))
            self._part.replace(self._path)
            self._places.clear()

    @property
    def _path(self) -> Path:
        return self._folder / "c" / str(self._number) / "/".join("0" for _ in self.shape)

    @property
    def _part(self) -> Path:
        return self._path.with_name(f"{self._path.name}.part")

    def _append(self, place: int, content: bytes) -> None:
        """Write a chunk at once: what is held back for a whole shard leaves holes in memory that grow for long."""
        if not self._places:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._part.open("ab" if self._places else "wb") as stream:
            stream.write(content)
        begins = sum(length for _, length in self._places.values())
        self._places[place] = begins, len(content)

    def _written(self, end: int) -> list[tuple[int, bytes]]:
        """Read the chunks before a row from the shard's file, if it is there."""
        if not end or not self._path.exists():
            return []
        shard = self._path.read_bytes()
        index = np.frombuffer(shard, "<u8", 2 * self._rows, len(shard) - CHECKSUM_BYTES - 16 * self._rows)
        places = enumerate(index.reshape(self._rows, 2)[:end].tolist())
        return [(row, shard[begins : begins + length]) for row, (begins, length) in places if begins != NO_CHUNK]


def _rows_of_shard(chunk: _Chunk) -> int:
    """Choose how many frames like one share a file."""
    rows, size = FLUSH_EVERY, math.prod(chunk.shape) * chunk.dtype.itemsize
    while rows > 1 and rows * size > SHARD_BYTES:
        rows //= 2
    return rows


def _index(places: Mapping[int, tuple[int, int]], rows: int) -> bytes:
    """Make the end of a shard: for each row where its chunk begins and how long it is, then a checksum of these.

    So the codec ``sharding_indexed`` has it. Zarr itself compresses all chunks of a shard anew for each that is added.
    """
    index = np.full((rows, 2), NO_CHUNK, "<u8")
    for row, place in places.items():
        index[row] = place
    text = index.tobytes()
    checksum: int = require("google_crc32c", "zarr").value(text)
    return text + checksum.to_bytes(CHECKSUM_BYTES, "little")


def _metadata(chunk: _Chunk, rows: int, axes: tuple[str, ...]) -> bytes:
    """Make the metadata of an array of one shard of frames like one."""
    zarr = require("zarr", "zarr")
    files: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(files),
        shape=(rows, *chunk.shape),
        chunks=(1, *chunk.shape),
        shards=(rows, *chunk.shape),
        dtype=chunk.dtype,
        fill_value=0,
        compressors=zarr.codecs.BloscCodec(cname=COMPRESSOR, clevel=LEVEL, shuffle=_shuffle(chunk.dtype)),
        dimension_names=("frame", *axes),
        zarr_format=3,
    )
    return bytes(files[METADATA].to_bytes())


def _set_length(metadata: Path, rows: int) -> None:
    zarr = require("zarr", "zarr")
    files = {METADATA: zarr.core.buffer.cpu.Buffer.from_bytes(metadata.read_bytes())}
    array = zarr.open_array(zarr.storage.MemoryStore(files), mode="r+")
    array.resize((rows, *array.shape[1:]))
    write_whole(metadata, files[METADATA].to_bytes())


def _group(attributes: dict[str, str]) -> bytes:
    return msgspec.json.encode({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def read_row(folder: Path, row: int) -> NDArray[np.float32]:
    """Read one frame's values of a layer.

    Args:
        folder: The layer's, within the store.
        row: The frame's ``row`` in the manifest.

    Raises:
        RunFolderError: The store is missing or damaged.
        MissingExtraError: Zarr is not installed.
    """
    zarr = require("zarr", "zarr")
    try:
        group = zarr.open_group(folder, mode="r")
        arrays = {name: np.asarray(array[row]) for name, array in group.arrays()}
        values = arrays["values"]
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise RunFolderError(f"{folder}: cannot be read ({error})") from None
    return from_eight_bits(arrays) if "scale" in arrays else values.astype(np.float32)
