"""Inputs that are many frames: videos, animated pictures, cameras, streams and stacks of arrays."""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import ImageSequence

from layerscope.errors import InputError, InputNotFoundError, OptionError
from layerscope.extras import require
from layerscope.inputs.pictures import open_animated, shown
from layerscope.inputs.pixels import array_to_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VIDEO_SUFFIXES", "Moment", "Moments", "Span", "as_moving"]

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp", ".mts", ".m2ts")
)
"""Endings, in lower case, by which videos are found in folders."""

ANIMATED_SUFFIXES = (".gif", ".webp", ".png", ".apng")
CAMERA = re.compile(r"camera:([0-9]{1,3})")
STREAM = re.compile(r"(rtsps?|rtmp|https?|udp|tcp)://", re.IGNORECASE)
PATIENCE_S = 15.0
"""How long a camera or a stream may say nothing."""


class Moment(NamedTuple):
    """One frame of many.

    Attributes:
        number: Its place among those of its source, from the span's start, frames left out counted.
        time_s: Seconds from the source's beginning; None where frames have no time.
        pixels: (H, W, 3) uint8 RGB, or what is wrong with it.
    """

    number: int
    time_s: float | None
    pixels: NDArray[np.uint8] | InputError


Moments: TypeAlias = Iterator[Moment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which frames of a video or of another source of many are taken.

    Attributes:
        every: One of so many.
        start_s: From this second on.
        count: At most so many; None: to its end.

    Raises:
        OptionError: A number that is not positive.
    """

    every: int = 1
    start_s: float = 0.0
    count: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise OptionError(f"every: expected a number from 1, got {self.every}")
        if not 0 <= self.start_s < float("inf"):
            raise OptionError(f"start: expected seconds from 0, got {self.start_s}")
        if self.count is not None and self.count < 1:
            raise OptionError(f"frames: expected a number from 1, got {self.count}")

    def of(self, moments: Moments) -> Moments:
        """Leave out what is not taken; a broken frame counts where it stands."""
        late = (moment for moment in moments if moment.time_s is None or moment.time_s >= self.start_s - 1e-6)
        numbered = (moment._replace(number=number) for number, moment in enumerate(late))
        return itertools.islice((moment for moment in numbered if moment.number % self.every == 0), self.count)


def as_moving(source: Any, *, max_pixels: int) -> tuple[str, Path | None, Callable[[Span], Moments]] | None:
    """Recognise a source of many frames; None for anything else.

    Args:
        source: A path or an address.
        max_pixels: Larger frames are refused.

    Returns:
        Its name, its file if it is one, and what gives its frames.
    """
    if not isinstance(source, str | os.PathLike):
        return None
    text = os.fspath(source)
    if not isinstance(text, str):
        return None
    if camera := CAMERA.fullmatch(text):
        return f"camera{camera[1]}", None, functools.partial(_camera, int(camera[1]), max_pixels)
    if STREAM.match(text):
        name = Path(re.sub(r"[?#].*", "", text)).stem
        return name, None, functools.partial(_video, text, max_pixels, endless=True)
    path = Path(text)
    ending = path.suffix.lower()
    if ending in VIDEO_SUFFIXES:
        return path.stem, path, functools.partial(_video, text, max_pixels)
    if ending == ".npy":
        return path.stem, path, functools.partial(_stack, path)
    if ending in ANIMATED_SUFFIXES and _is_animated(path):
        return path.stem, path, functools.partial(_animated, path, max_pixels)
    return None


def _camera(number: int, max_pixels: int, span: Span) -> Moments:
    by_system = {
        "linux": (f"/dev/video{number}", "v4l2"),
        "darwin": (str(number), "avfoundation"),
        "win32": (f"video={number}", "dshow"),
    }
    address, driver = by_system.get(sys.platform, by_system["linux"])
    if sys.platform == "linux" and not Path(address).exists():
        raise InputNotFoundError(f"camera:{number}: there is no such camera ({address})")
    return _video(address, max_pixels, span, driver=driver, called=f"camera:{number}", endless=True)


def _video(
    address: str,
    max_pixels: int,
    span: Span,
    *,
    driver: str | None = None,
    called: str | None = None,
    endless: bool = False,
) -> Moments:
    """Decode a video from near the span's start on; a packet that is damaged is one broken frame."""
    av = require("av", "video")
    where = called or shown(address)
    try:
        container = av.open(address, format=driver, timeout=PATIENCE_S if endless else None)
    except FileNotFoundError:
        raise InputNotFoundError(f"no such file: {where}") from None
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{where}: cannot be opened as a video ({_line(error)})") from None
    with container:
        if not container.streams.video:
            raise InputError(f"{where}: holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if span.start_s > 0 and not endless:
            first = stream.start_time or 0
            container.seek(int(span.start_s / stream.time_base) + first, stream=stream)
        yield from span.of(_decoded(container, stream, where, max_pixels))


def _decoded(container: Any, stream: Any, where: str, max_pixels: int) -> Moments:
    av = require("av", "video")
    begin = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    time_s: float | None = None
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except (StopIteration, av.error.EOFError):
            return
        except av.error.InvalidDataError as error:
            yield Moment(0, time_s, InputError(f"{where}: damaged after {time_s or 0:.2f} s ({_line(error)})"))
            continue
        except (av.error.FFmpegError, OSError) as error:
            yield Moment(0, time_s, InputError(f"{where}: ends after {time_s or 0:.2f} s ({_line(error)})"))
            return
        for frame in frames:
            time_s = None if frame.time is None else frame.time - begin
            _check_size(frame.width, frame.height, max_pixels, where)
            yield Moment(0, time_s, _upright(frame))


def _check_size(width: int, height: int, max_pixels: int, where: str) -> None:
    if width * height > max_pixels:
        raise InputError(f"{where}: {width}x{height} pixels, the limit is {max_pixels}")


def _upright(frame: Any) -> NDArray[np.uint8]:
    """Turn a frame as its file says that it is to be shown."""
    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    quarters = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels


def _is_animated(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return open_animated(file) is not None
    except (OSError, ValueError):
        return False  # what is wrong with it is said when it is read as a picture


def _animated(path: Path, max_pixels: int, span: Span) -> Moments:
    def frames() -> Moments:
        time_s = 0.0
        try:
            with path.open("rb") as file:
                picture = open_animated(file)
                if picture is None:
                    raise InputError(f"{shown(path)}: is no moving picture any more")
                _check_size(picture.width, picture.height, max_pixels, shown(path))
                for frame in ImageSequence.Iterator(picture):
                    yield Moment(0, time_s, np.asarray(frame.convert("RGB")))
                    time_s += frame.info.get("duration", 100) / 1000
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            if isinstance(error, InputError):
                raise
            yield Moment(0, time_s, InputError(f"{shown(path)}: damaged after {time_s:.2f} s ({_line(error)})"))

    return span.of(frames())


def _stack(path: Path, span: Span) -> Moments:
    """Read an array file: one picture, or a stack of them, (N, H, W, 3) or (N, H, W)."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputNotFoundError(f"no such file: {shown(path)}") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{shown(path)}: is no array file that can be read ({_line(error)})") from None
    many = array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (3, 4))

    def frames() -> Moments:
        for picture in array if many else [array]:
            try:
                yield Moment(0, None, array_to_rgb(np.asarray(picture)))
            except InputError as error:
                yield Moment(0, None, InputError(f"{shown(path)}: {error}"))

    return span.of(frames())


def _line(error: BaseException) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:160] or type(error).__name__
