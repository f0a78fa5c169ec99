"""Layers over time: H.264 in mp4, and animated WebP, a file a layer."""

from __future__ import annotations

import contextlib
import io
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from layerscope.errors import OutputError
from layerscope.extras import require
from layerscope.sinks.moving import CONSTANT_RATE_FACTOR, WEBP_QUALITY, of_size
from layerscope.sinks.segments import Segments, segment_paths, short_name
from layerscope.sinks.views import Look, take_view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.manifest import FrameRecord
    from layerscope.sinks.sink import Ending, Target, Write

__all__ = ["Video", "WebP"]

ENCODING = {"crf": CONSTANT_RATE_FACTOR, "preset": "veryfast", "bf": "0", "rc-lookahead": "0"}
"""Without looking ahead: x264's macroblock tree, which does, reads memory that nothing wrote, and equal runs differ."""

TICKS = 90_000
"""Of a second, the unit of times in the videos."""


class _Movies:
    """What both kinds have in common: they show the same views.

    Args:
        views: What to show: names of ``VIEWS``, or channels' numbers.
        look: How values become pixels.
    """

    kind: str
    draws = True

    def __init__(self, views: Sequence[str], look: Look) -> None:
        self.views, self.look = tuple(views), look

    @property
    def colormap(self) -> str:
        """The colour map's name."""
        return self.look.colours

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write | None:
        """Take what the views need; they are drawn, and WebP is encoded, on another thread."""
        draws = {view: take_view(view, feature_map, scaled, self.look) for view in self.views}
        known = {view: draw for view, draw in draws.items() if draw is not None}
        if not known:
            return None

        def give(target: Target) -> dict[str, Any]:
            return {
                f"channel{view}" if view.isdecimal() else view: self._encoded(_in_colour(draw(target.layer)))
                for view, draw in known.items()
            }

        return give

    def _encoded(self, picture: NDArray[np.uint8]) -> Any:
        return picture


class Video(_Movies):
    """Writes ``video/<view>/<layer>.mp4``, the view ``sheets`` or ``channel7``, at the source frames' times."""

    kind = "video"

    def begin(self, folder: Path, encoders: Executor) -> _Gathering:
        """Begin, or go on."""
        require("av", "video")
        return _Gathering(self.kind, "mp4", folder, lambda own: _Clip(own, encoders), _join_mp4)


class WebP(_Movies):
    """Writes ``webp/<view>/<layer>.webp``, at the times of the source's frames."""

    kind = "webp"

    def begin(self, folder: Path, encoders: Executor) -> _Gathering:  # noqa: ARG002 - pictures come encoded
        """Begin, or go on."""
        return _Gathering(self.kind, "webp", folder, Segments, _join_webp)

    def _encoded(self, picture: NDArray[np.uint8]) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "WEBP", quality=WEBP_QUALITY, method=2)
        return stream.getvalue()


class _Gathering:
    """The moving pictures of one run.

    Args:
        kind: The sink's.
        suffix: Of the files.
        folder: Holds a folder a view and layer.
        begin: Makes what takes the pictures of one, in its folder.
        join: Writes one file of a folder: ``join(folder, path, times_s)``.
    """

    def __init__(
        self,
        kind: str,
        suffix: str,
        folder: Path,
        begin: Callable[[Path], Any],
        join: Callable[[Path, Path, Sequence[float]], None],
    ) -> None:
        self._kind, self._suffix, self._folder = kind, suffix, folder
        self._begin, self._join = begin, join
        self._open: dict[tuple[str, str], Any] = {}

    def add(self, row: int, frame: FrameRecord, pieces: Mapping[str, Mapping[str, Any]]) -> None:  # noqa: ARG002
        """Append a frame's pictures; videos are encoded side by side."""
        waiting = []
        for layer, pictures in pieces.items():
            for view, picture in pictures.items():
                if (layer, view) not in self._open:
                    own = self._folder / view / short_name(layer)
                    own.mkdir(parents=True, exist_ok=True)
                    self._open[layer, view] = self._begin(own)
                waiting.append(self._open[layer, view].add(row, picture))
        for future in waiting:
            if future is not None:
                future.result()

    def flush(self) -> None:
        """End all files; the next picture begins new ones."""
        for part in self._open.values():
            part.flush()

    def close(self) -> None:
        """Let go of open files."""
        for part in self._open.values():
            part.close()

    def finish(self, ending: Ending) -> Mapping[str, Mapping[str, str]]:
        """Join what was written, a file a view and layer."""
        written: dict[str, dict[str, str]] = {}
        for view in sorted(path.name for path in self._folder.iterdir()):
            for layer, name in ending.folders.items():
                own = self._folder / view / short_name(layer)
                if not own.is_dir():
                    continue
                path = f"{self._kind}/{view}/{name}.{self._suffix}"
                whole = own / "whole.part"
                self._join(own, whole, ending.times_s)
                (ending.out / path).parent.mkdir(parents=True, exist_ok=True)
                whole.replace(ending.out / path)
                written.setdefault(f"{self._kind}/{view}", {})[layer] = path
        return written


class _Clip:
    """A video in pieces that begin with a whole picture each.

    Args:
        folder: Holds them.
        encoders: Threads to encode on.
    """

    def __init__(self, folder: Path, encoders: Executor) -> None:
        self._folder, self._encoders = folder, encoders
        self._container: Any = None
        self._stream: Any = None
        self._first = 0
        self._size_hw = _first_size(folder)

    def add(self, row: int, picture: NDArray[np.uint8]) -> Any:
        """Encode a picture on another thread; the next must wait for it."""
        return self._encoders.submit(self._encode, row, picture)

    def _encode(self, row: int, picture: NDArray[np.uint8]) -> None:
        av = require("av", "video")
        if self._container is None:
            self._first = row
            height, width = picture.shape[:2]
            self._size_hw = self._size_hw or (height + height % 2, width + width % 2)
            self._container = av.open(str(self._part), "w", format="mp4")
            self._stream = self._container.add_stream("libx264", rate=1)
            self._stream.height, self._stream.width = self._size_hw
            self._stream.pix_fmt = "yuv420p"
            self._stream.thread_count = 1  # the same bytes on any machine, and the layers are encoded side by side
            self._stream.options = ENCODING
        fitted = of_size(picture, (self._stream.height, self._stream.width))
        image = av.VideoFrame.from_ndarray(fitted, format="rgb24")
        image.pts, image.time_base = row - self._first, Fraction(1)
        self._container.mux(self._stream.encode(image))

    @property
    def _part(self) -> Path:
        return self._folder / f"{self._first}.part"

    def flush(self) -> None:
        """End the piece."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            container, self._container = self._container, None
            container.close()
            self._part.replace(self._folder / f"{self._first}.mp4")

    def close(self) -> None:
        """Let go of the file; what was not flushed is lost."""
        if self._container is not None:
            with contextlib.suppress(OSError):
                self._container.close()


def _first_size(folder: Path) -> tuple[int, int] | None:
    for _, path in segment_paths(folder, "mp4")[:1]:
        with require("av", "video").open(str(path)) as container:
            stream = container.streams.video[0]
            return int(stream.height), int(stream.width)
    return None


def _join_mp4(folder: Path, path: Path, times_s: Sequence[float]) -> None:
    """Put the pieces of a video together at their true times, without encoding anew."""
    av = require("av", "video")
    ticks = [round(time * TICKS) for time in times_s]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as whole:
        stream = None
        for first, piece in segment_paths(folder, "mp4"):
            with av.open(str(piece)) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = whole.add_stream_from_template(source)
                    stream.time_base = Fraction(1, TICKS)
                for packet in container.demux(source):
                    if packet.pts is None:
                        continue
                    row = first + round(packet.pts * packet.time_base)
                    packet.time_base = Fraction(1, TICKS)
                    packet.pts = packet.dts = ticks[row]
                    packet.duration = ticks[row + 1] - ticks[row]
                    packet.stream = stream
                    whole.mux(packet)


def _join_webp(folder: Path, path: Path, times_s: Sequence[float]) -> None:
    """Put still pictures into one animation, as RFC 9649 lays it out."""
    pictures = Segments(folder)
    sizes = [_webp_size_hw(still) for _, still in pictures]
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    with path.open("wb") as stream:
        stream.write(b"RIFF\0\0\0\0WEBP")
        _write_chunk(stream, b"VP8X", struct.pack("<I", 2) + _three(width - 1) + _three(height - 1))
        _write_chunk(stream, b"ANIM", b"\xff\xff\xff\xff\0\0")
        for (row, still), (high, wide) in zip(pictures, sizes, strict=True):
            shown_ms = round(times_s[row + 1] * 1000) - round(times_s[row] * 1000)
            place = _three(0) + _three(0) + _three(wide - 1) + _three(high - 1)
            _write_chunk(stream, b"ANMF", place + _three(min(shown_ms, 0xFFFFFF)) + b"\x02" + still[12:])
        length = stream.tell() - 8
        if length > 0xFFFFFFFE:
            raise OutputError(f"{path}: {len(sizes)} pictures are more than one WebP file holds; write video instead")
        stream.seek(4)
        stream.write(struct.pack("<I", length))


def _webp_size_hw(still: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(still)) as picture:
        return picture.height, picture.width


def _write_chunk(stream: BinaryIO, kind: bytes, content: bytes) -> None:
    stream.write(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2))


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _in_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
