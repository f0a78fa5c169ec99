"""A finished run, read back."""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from layerscope.errors import RunFolderError, nearest
from layerscope.sinks.manifest import FILE_NAME, FrameRecord, LayerRecord, Manifest
from layerscope.sinks.manifest_file import Opened, open_manifest
from layerscope.sinks.tensors import read_tensor
from layerscope.sinks.tiles import PACKED
from layerscope.sinks.zarr_store import read_row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["Run", "RunFrame", "RunLayer", "count_files", "frame_paths", "open_run"]


def open_run(folder: str | Path) -> Run:
    """Open a finished run.

    Args:
        folder: What ``run`` was given as ``out``.

    Raises:
        RunFolderError: It holds no run, or one that this version cannot read.
    """
    folder = Path(folder)
    return Run(folder, open_manifest(folder / FILE_NAME))


class Run(Mapping[str, "RunFrame"]):
    """A finished run: frame names to frames, in the order given.

    Frames are read when they are asked for, so that a run of many thousands opens in little memory.

    Attributes:
        folder: Where it is.
        head: What its manifest says of it, its frames left out.
    """

    def __init__(self, folder: Path, opened: Opened) -> None:
        self.folder = folder
        self.head = opened.head
        self._opened = opened

    @property
    def manifest(self) -> Manifest:
        """The whole manifest."""
        return msgspec.structs.replace(self.head, frames=[self._opened.frame(name) for name in self])

    @property
    def paths(self) -> list[Path]:
        """Every file and folder that the run wrote, its manifest left out."""
        series = [self.folder / path for layers in self.head.series.values() for path in layers.values()]
        return [path for name in self for path in frame_paths(self.folder, self._opened.frame(name))] + series

    @property
    def failures(self) -> dict[str, str]:
        """Pictures that could not be read: name to reason."""
        return self.head.failures

    def __getitem__(self, name: str) -> RunFrame:
        if name not in self:
            some = ", ".join(itertools.islice(self, 6)) + (", ..." if len(self) > 6 else "")
            raise RunFolderError(f"{self.folder} has no frame {name!r}, only {some}{nearest(name, self)}")
        record = self._opened.frame(name)
        stores = {layer: self.folder / path for layer, path in self.head.series.get("zarr", {}).items()}
        return RunFrame(self.folder / record.folder, record, stores)

    def __contains__(self, name: object) -> bool:
        return name in self._opened.places

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened.places)

    def __len__(self) -> int:
        return len(self._opened.places)

    def __repr__(self) -> str:
        pictures = sum(count_files(frame.record) for frame in self.values())
        return f"<Run of {self.head.network.source} in {self.folder}: {len(self)} frames, {pictures} pictures>"


class RunFrame(Mapping[str, "RunLayer"]):
    """One frame of a run: layer names to what was written, in the order in which the layers ran.

    Attributes:
        folder: Its folder.
        record: What the manifest says of it.
    """

    def __init__(self, folder: Path, record: FrameRecord, stores: Mapping[str, Path] | None = None) -> None:
        self.folder = folder
        self.record = record
        stores = stores or {}
        self._layers = {
            layer.layer: RunLayer(folder, layer, stores.get(layer.layer), record.row or 0) for layer in record.layers
        }

    def __getitem__(self, layer: str) -> RunLayer:
        if layer not in self._layers:
            raise RunFolderError(f"frame {self.record.name} has no layer {layer!r}{nearest(layer, self._layers)}")
        return self._layers[layer]

    def __contains__(self, layer: object) -> bool:
        return layer in self._layers

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


class RunLayer:
    """What was written of one layer.

    Attributes:
        folder: The frame's folder.
        record: What the manifest says of it.
    """

    def __init__(self, folder: Path, record: LayerRecord, store: Path | None = None, row: int = 0) -> None:
        self.folder = folder
        self.record = record
        self._store, self._row = store, row

    @property
    def channels(self) -> int:
        """Number of channels that were drawn."""
        return len(self.record.channels.constant) if self.record.channels else 0

    @property
    def paths(self) -> list[Path]:
        """Every file, tiles first, in the order of the channels."""
        if self.is_packed:
            tiles = [self.folder / PACKED]
        else:
            tiles = [self.tile_path(channel) for channel in range(self.channels)] if self.record.tiles else []
        return tiles + [self.folder / path for path in self.record.files.values()]

    @property
    def is_packed(self) -> bool:
        """Whether its tiles lie in one file with those of the other layers."""
        return self.record.tiles is not None and self.record.tiles.startswith(f"{PACKED}/")

    def tile_path(self, channel: int) -> Path:
        """Return the file of a channel's tile; where tiles are packed, its place in ``tiles.zip``.

        Raises:
            RunFolderError: No tiles were written, or there is no such channel.
        """
        if self.record.tiles is None:
            raise RunFolderError(f"{self.record.layer}: this run wrote no tiles")
        if not 0 <= channel < self.channels:
            raise RunFolderError(f"{self.record.layer} has channels 0 to {self.channels - 1}, not {channel}")
        return self.folder / self.record.tiles.replace("{channel}", str(channel))

    def tile(self, channel: int) -> Image:
        """Open a channel's tile."""
        path = self.tile_path(channel)
        if not self.is_packed:
            return _open(path)
        archive = self.folder / PACKED
        try:
            with zipfile.ZipFile(archive) as tiles:
                return _open(io.BytesIO(tiles.read(path.relative_to(archive).as_posix())), path)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise RunFolderError(f"{archive}: cannot be read ({error})") from None

    def picture(self, kind: str = "sheets") -> Image:
        """Open the layer's sheet, overlay or reduction."""
        if kind not in self.record.files:
            raise RunFolderError(
                f"{self.record.layer}: this run wrote no {kind}, only {', '.join(self.record.files) or 'tiles'}"
            )
        return _open(self.folder / self.record.files[kind])

    @property
    def values(self) -> NDArray[np.float32]:
        """Read the values themselves, (C, H, W) float32; ``write`` must have named ``tensors`` or ``zarr``.

        Raises:
            RunFolderError: This run kept no tensors, or the file is damaged.
        """
        if "tensors" in self.record.files:
            return read_tensor(self.folder / self.record.files["tensors"])
        if self._store is not None:
            return read_row(self._store, self._row)
        raise RunFolderError(f"{self.record.layer}: this run kept no values; write=['tensors'] or ['zarr'] keeps them")


def frame_paths(out: Path, frame: FrameRecord) -> list[Path]:
    """List the files of a frame of a run in ``out``."""
    folder = out / frame.folder
    paths = [path for layer in RunFrame(folder, frame).values() for path in layer.paths]
    return list(dict.fromkeys(paths)) + ([folder / frame.picture] if frame.picture else [])


def count_files(frame: FrameRecord) -> int:
    """Count the files of a frame."""
    layers = list(RunFrame(Path(), frame).values())
    tiles = sum(layer.channels for layer in layers if layer.record.tiles and not layer.is_packed)
    packed = any(layer.is_packed for layer in layers)
    return tiles + packed + sum(len(layer.record.files) for layer in layers) + (frame.picture is not None)


def _open(file: Path | io.BytesIO, path: Path | None = None) -> Image:
    """Read a picture; errors name ``path``, by default the file itself."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            picture.load()
            return picture
    except OSError as error:
        raise RunFolderError(f"{path or file}: cannot be read ({error})") from None
