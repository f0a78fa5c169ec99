"""The values of all frames of a run: ``values.zarr``, one array a layer.

The format is Zarr 3 (https://zarr-specs.readthedocs.io/en/latest/v3/core/): a chunk a frame, many chunks in a shard,
so that any frame is read alone and there are few files.
"""

from __future__ import annotations

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
    from layerscope.sinks.sink import Ending, Target, Write

__all__ = ["Zarr", "read_row"]

STORE = "values.zarr"
SHARD_BYTES = 16 << 20
"""A shard holds so many frames that it is not larger than about this, before compression."""

METADATA = "zarr.json"


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
        """Copy the values."""
        values = as_plain(feature_map.values.detach())
        if self.tensor_type == "q8":
            arrays: Mapping[str, NDArray[Any]] = to_eight_bits(values)
        else:
            arrays = {"values": as_type(values, self.tensor_type)}
            if not arrays["values"].dtype.name.endswith(self.tensor_type.removeprefix("f")):
                raise LayerError(
                    f"{feature_map.layer}: holds values beyond 65504, which half precision cannot; write it as f32"
                )
        piece = _Piece(arrays=arrays, axes=_axis_names(feature_map))

        def give(_target: Target) -> _Piece:
            return piece

        return give

    def begin(self, folder: Path, encoders: Executor) -> _Gathering:  # noqa: ARG002 - zarr has threads of its own
        """Begin, or go on."""
        return _Gathering(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """What is kept of one layer of one frame: arrays by name, and the names of the axes of ``values``."""

    arrays: Mapping[str, NDArray[Any]]
    axes: tuple[str, ...]


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
            for name, values in piece.arrays.items():
                if (layer, name) not in self._arrays:
                    axes = piece.axes if name == "values" else (piece.axes[:1] or ("entry",))
                    self._arrays[layer, name] = _Array(self._folder / short_name(layer) / name, values, axes)
                array = self._arrays[layer, name]
                if values.shape != array.shape or values.dtype != array.dtype:
                    raise LayerError(
                        f"{layer}: gave shape {values.shape} for {frame.name}, {array.shape} before; an array holds "
                        "one shape, so write tensors instead of zarr"
                    )
                array.add(row, values)

    def flush(self) -> None:
        """Write what is held."""
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
                for array in own.iterdir():
                    _set_length(array, len(ending.times_s) - 1)
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
        values: The first frame's.
        axes: The names of the axes of ``values``.
    """

    def __init__(self, folder: Path, values: NDArray[Any], axes: tuple[str, ...]) -> None:
        self._folder = folder
        self.shape, self.dtype = values.shape, values.dtype
        if not (folder / METADATA).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / METADATA, _metadata(values, axes))
        self._metadata = (folder / METADATA).read_bytes()
        self._shard = int(_open(self._metadata)[0].shards[0])
        self._held: dict[int, NDArray[Any]] = {}
        self._number = 0

    def add(self, row: int, values: NDArray[Any]) -> None:
        """Hold a frame's values until its shard is full."""
        if self._held and row // self._shard != self._number:
            self.flush()
        self._number = row // self._shard
        self._held[row % self._shard] = values

    def flush(self) -> None:
        """Write the shard, with the frames that it holds already if these are later ones."""
        if not self._held:
            return
        array, files = _open(self._metadata)
        corner = "/".join("0" for _ in self.shape)
        key, path = f"c/0/{corner}".rstrip("/"), self._folder / "c" / str(self._number) / corner
        first, end = min(self._held), max(self._held) + 1
        if first and path.exists():
            files[key] = _as_buffer(path.read_bytes())
        block = np.zeros((end - first, *self.shape), self.dtype)
        for row, values in self._held.items():
            block[row - first] = values
        array[first:end] = block
        path.parent.mkdir(parents=True, exist_ok=True)
        if key in files:  # a shard of nothing but zeros has no file
            write_whole(path, files[key].to_bytes())
        self._held.clear()


def _metadata(values: NDArray[Any], axes: tuple[str, ...]) -> bytes:
    """Make the metadata of an array of one shard of frames like one."""
    zarr = require("zarr", "zarr")
    shard = FLUSH_EVERY
    while shard > 1 and shard * values.nbytes > SHARD_BYTES:
        shard //= 2
    files: dict[str, Any] = {}
    zarr.create_array(
        zarr.storage.MemoryStore(files),
        shape=(shard, *values.shape),
        chunks=(1, *values.shape),
        shards=(shard, *values.shape),
        dtype=values.dtype,
        fill_value=0,
        compressors=zarr.codecs.BloscCodec(
            cname="lz4", clevel=5, shuffle="bitshuffle" if values.itemsize > 1 else "noshuffle"
        ),
        dimension_names=("frame", *axes),
        zarr_format=3,
    )
    return bytes(files[METADATA].to_bytes())


def _open(metadata: bytes) -> tuple[Any, dict[str, Any]]:
    """Make an array in memory of metadata; return it and its files, which are bytes by name."""
    zarr = require("zarr", "zarr")
    files = {METADATA: _as_buffer(metadata)}
    return zarr.open_array(zarr.storage.MemoryStore(files), mode="r+"), files


def _as_buffer(content: bytes) -> Any:
    return require("zarr", "zarr").core.buffer.cpu.Buffer.from_bytes(content)


def _set_length(folder: Path, rows: int) -> None:
    array, files = _open((folder / METADATA).read_bytes())
    array.resize((rows, *array.shape[1:]))
    write_whole(folder / METADATA, files[METADATA].to_bytes())


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
