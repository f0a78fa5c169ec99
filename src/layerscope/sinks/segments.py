"""Records of frames one after another in files, a new one at each flush, so that none is ever cut off."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Segments", "segment_paths", "short_name", "write_whole"]

HEADER = struct.Struct("<QQ")


def short_name(layer: str) -> str:
    """Give a layer's file name while a run goes: different for each, whatever the file system makes of names."""
    return hashlib.sha256(layer.encode(errors="surrogateescape")).hexdigest()[:24]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears under its name only when it is whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def segment_paths(folder: Path, suffix: str) -> list[tuple[int, Path]]:
    """List the segments in a folder with the rows at which they begin, in order."""
    return sorted((int(path.stem), path) for path in folder.glob(f"*.{suffix}"))


class Segments:
    """Bytes by row.

    Args:
        folder: Holds the files; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._stream: BinaryIO | None = None
        self._first = 0

    def add(self, row: int, content: bytes) -> None:
        """Append a record."""
        if self._stream is None:
            self._first = row
            self._stream = self._part.open("wb")
        self._stream.write(HEADER.pack(row, len(content)) + content)

    def flush(self) -> None:
        """End the file."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()
            self._part.replace(self._folder / f"{self._first}.records")

    def close(self) -> None:
        """Let go of the file; what was not flushed is lost."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()

    @property
    def _part(self) -> Path:
        return self._folder / f"{self._first}.part"

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield rows and records of what was flushed, in order."""
        for _, path in segment_paths(self._folder, "records"):
            with path.open("rb") as stream:
                while header := stream.read(HEADER.size):
                    row, length = HEADER.unpack(header)
                    yield row, stream.read(length)
