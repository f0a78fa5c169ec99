"""The manifest as a file: one line a frame, so that neither writing nor reading needs all of them at once."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec

from layerscope.errors import RunFolderError
from layerscope.sinks.manifest import FILE_NAME, VERSION, FrameRecord, Manifest, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["Opened", "encode_frame", "manifest_text", "open_manifest", "write_manifest"]

FRAMES_BEGIN, FRAMES_END = b'"frames": [\n', b"],\n"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` into a folder."""
    frames = (encode_frame(frame) for frame in manifest.frames)
    with (folder / FILE_NAME).open("wb") as stream:
        stream.writelines(manifest_text(manifest, frames))


def encode_frame(frame: FrameRecord) -> bytes:
    """Write a frame's record as one line without its end."""
    return msgspec.json.encode(frame)


def manifest_text(head: Manifest, frames: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the text of a manifest.

    Args:
        head: The manifest; its own frames do not matter.
        frames: From ``encode_frame``, in order.
    """
    yield b"{\n"
    for name in ("version", "layerscope", "network", "preparation", "render", "asked"):
        yield b'"%s": %s,\n' % (name.encode(), msgspec.json.encode(getattr(head, name)))
    yield FRAMES_BEGIN
    for index, frame in enumerate(frames):
        yield (b",\n" if index else b"") + frame
    yield b"\n" + FRAMES_END
    yield b'"series": %s,\n' % msgspec.json.encode(head.series)
    yield b'"failures": %s\n}\n' % msgspec.json.encode(head.failures)


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A manifest whose frames are read when they are asked for.

    Attributes:
        path: The file.
        head: All but its frames.
        places: Frame names to where their records begin in the file, and their lengths, bytes.
    """

    path: Path
    head: Manifest
    places: dict[str, tuple[int, int]]

    def frame(self, name: str) -> FrameRecord:
        """Read one frame's record."""
        begin, length = self.places[name]
        with self.path.open("rb") as stream:
            stream.seek(begin)
            return msgspec.json.decode(stream.read(length), type=FrameRecord)


def open_manifest(path: Path) -> Opened:
    """Open a manifest, checked against the schema throughout.

    Raises:
        RunFolderError: There is none, it is damaged, or it is of another version.
    """
    try:
        with path.open("rb") as stream:
            head, places = _read(stream, path)
    except OSError:
        raise RunFolderError(f"{path.parent}: holds no {FILE_NAME}, so it is no finished run") from None
    except msgspec.DecodeError as error:
        raise RunFolderError(f"{path}: is no manifest ({error})") from None
    return Opened(path, head, places)


def _read(stream: BinaryIO, path: Path) -> tuple[Manifest, dict[str, tuple[int, int]]]:
    """Read all but the frames, and where these are, a line at a time."""
    places: dict[str, tuple[int, int]] = {}
    around, inside, begin = [], False, 0
    for line in stream:
        if inside and line != FRAMES_END:
            text = line.rstrip(b",\n")
            if text:
                places[msgspec.json.decode(text, type=FrameRecord).name] = begin, len(text)
        else:
            inside = line == FRAMES_BEGIN
            around.append(line)
        begin += len(line)
    text = b"".join(around)
    version = msgspec.json.decode(text, type=_Versioned).version
    if version != VERSION:
        raise RunFolderError(f"{path}: is of version {version}; this Layerscope reads version {VERSION}")
    head = msgspec.json.decode(text, type=Manifest)
    if head.frames:
        raise RunFolderError(f"{path}: was reformatted: each frame has to stand on a line of its own")
    return head, places


class _Versioned(Record, frozen=True, kw_only=True):
    version: int
