"""Files, folders, globs, arrays and images, to a list of inputs that open one by one."""

from __future__ import annotations

import dataclasses
import functools
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from layerscope.errors import InputError
from layerscope.inputs.frame import Frame
from layerscope.inputs.moving import VIDEO_SUFFIXES, Moment, Moments, Span, as_moving
from layerscope.inputs.naming import unique_names
from layerscope.inputs.pictures import (
    MAX_PIXELS,
    PICTURE_SUFFIXES,
    check_max_pixels,
    image_pixels,
    read_picture,
    shown,
)
from layerscope.inputs.pixels import array_to_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCENES = Path(__file__).resolve().parents[1] / "assets" / "scenes"
"""The folder of the pictures that ship with Layerscope: scenes that it draws itself."""

FOUND_SUFFIXES = PICTURE_SUFFIXES | VIDEO_SUFFIXES
WHOLE = Span()

InputSource: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Image.Image | Frame"
"""What `find_inputs` takes, alone or in a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A frame that is named but not read yet.

    Attributes:
        name: What its frame will be called: unique among the inputs, fit to be a folder's name.
        path: The file it is read from; None for arrays and images.
        read: Gives the pixels, (H, W, 3) uint8 RGB; of a source of many frames those of its first.
        moments: Gives a source's many frames; None for a single picture.
    """

    name: str
    path: Path | None
    read: Callable[[], NDArray[np.uint8]]
    moments: Callable[[], Moments] | None = None

    def open(self) -> Frame:
        """Read the pixels.

        Raises:
            InputNotFoundError: The file is not there.
            InputError: The file or the array is no picture that can be used.
        """
        return Frame(name=self.name, pixels=self.read(), path=self.path)

    def frames(self) -> Iterator[tuple[str, Callable[[], Frame]]]:
        """Yield its frames' names, each with what reads it: one of a picture, ``clip-000000`` and on of a video.

        Raises:
            InputError: The source cannot be opened.
        """
        if self.moments is None:
            yield self.name, self.open
            return
        for moment in self.moments():
            name = f"{self.name}-{moment.number:06}"
            yield name, functools.partial(_frame_of, moment, name, self.path)


def _frame_of(moment: Moment, name: str, path: Path | None) -> Frame:
    if isinstance(moment.pixels, InputError):
        raise moment.pixels
    return Frame(name=name, pixels=moment.pixels, path=path, time_s=moment.time_s)


def find_inputs(
    inputs: InputSource | Iterable[InputSource] | None, *, max_pixels: int = MAX_PIXELS, span: Span = WHOLE
) -> list[Input]:
    """Find the pictures that the inputs stand for, without reading them.

    A missing or broken file is still listed and raises only when it is opened, so that it cannot
    stop the others. A folder or pattern that holds no picture is refused at once.

    Args:
        inputs: One or many of: a picture file; a folder, whose pictures are taken deep and in
            natural order (``img2`` before ``img10``; hidden files and linked folders are passed
            over); a glob pattern where no file has that very name (``**`` goes deep); a video, an animated
            picture, ``camera:0``, the address of a stream, a ``.npy`` file of one or many pictures; an array
            (H, W), (H, W, 3) or (H, W, 4), uint8 or floats in 0..1; a Pillow image; a frame. None: the
            scenes that ship with Layerscope.
        max_pixels: A larger picture is refused when opened, before it is decoded.
        span: Which frames of videos and the like are taken.

    Returns:
        The inputs in the order given, names unique.

    Raises:
        InputError: A folder or pattern without pictures, no input at all, or something that is none of these.
        OptionError: `max_pixels` is not positive.

    >>> [item.name for item in find_inputs(["left/dog.jpg", "right/dog.jpg", np.zeros((2, 2), np.uint8)])]
    ['left_dog', 'right_dog', 'frame']
    """
    check_max_pixels(max_pixels)
    if inputs is None:
        inputs = SCENES
    single = isinstance(inputs, str | os.PathLike | np.ndarray | Image.Image | Frame)
    sources: list[Any] = [inputs]
    if not single:
        if not isinstance(inputs, Iterable) or hasattr(inputs, "__array__"):
            raise InputError(_unknown(inputs))
        sources = list(inputs)
    if not sources:
        raise InputError("no input: expected a picture file, a folder, a pattern, an array or an image")
    found = [entry for source in sources for entry in _entries(source, max_pixels, span)]
    names = unique_names([(entry.name, entry.path) for entry in found])
    return [dataclasses.replace(entry, name=name) for name, entry in zip(names, found, strict=True)]


def _entries(source: Any, max_pixels: int, span: Span) -> list[Input]:
    """List what one source stands for, each under the name it would have alone."""
    if isinstance(source, Frame):
        return [Input(name=source.name, path=source.path, read=functools.partial(array_to_rgb, source.pixels))]
    if isinstance(source, np.ndarray):
        return [Input(name="frame", path=None, read=functools.partial(array_to_rgb, source))]
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        name = Path(os.fsdecode(filename)).stem if isinstance(filename, str | bytes | os.PathLike) else ""
        read = functools.partial(image_pixels, source, max_pixels=max_pixels)
        return [Input(name=name or "frame", path=None, read=read)]
    if isinstance(source, str | os.PathLike):
        if moving := _moving(source, max_pixels, span):
            return [moving]
        return [
            _moving(path, max_pixels, span)
            or Input(name=path.stem, path=path, read=functools.partial(read_picture, path, max_pixels=max_pixels))
            for path in _paths(os.fspath(source))
        ]
    raise InputError(_unknown(source))


def _moving(source: Any, max_pixels: int, span: Span) -> Input | None:
    found = as_moving(source, max_pixels=max_pixels)
    if found is None or _is(Path(source).is_dir):
        return None
    name, path, give = found
    moments = functools.partial(give, span)
    return Input(name=name, path=path, read=functools.partial(_first, moments, name), moments=moments)


def _first(moments: Callable[[], Moments], name: str) -> NDArray[np.uint8]:
    """Read the first frame of many, for what takes one picture."""
    for moment in moments():
        if isinstance(moment.pixels, InputError):
            raise moment.pixels
        return moment.pixels
    raise InputError(f"{name}: holds no frame there")


def _paths(text: str) -> list[Path]:
    if not isinstance(text, str):
        raise InputError(_unknown(text))
    if not text:
        raise InputError("an empty path; the current folder is '.'")
    path = Path(text)
    if _is(path.is_dir):
        return _in_folder(path)
    if glob.has_magic(text) and not _is(path.exists):
        return _matching(text)
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    refused: list[OSError] = []
    found = []
    for parent, folders, files in os.walk(folder, onerror=refused.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if not name.startswith(".") and _is_picture(name)]
    if not found:
        why = f"cannot be listed ({refused[0].strerror})" if refused else "no picture in this folder"
        raise InputError(f"{shown(folder)}: {why}; looked for files ending in .jpg, .png, .webp, .tif and the like")
    return sorted(found, key=lambda path: _natural(path.relative_to(folder)))


def _matching(pattern: str) -> list[Path]:
    try:
        matches = [Path(text) for text in glob.iglob(pattern, recursive=True)]  # noqa: PTH207
    except (re.error, ValueError, OSError) as error:
        raise InputError(f"{shown(pattern)}: not a pattern that can be searched for ({error})") from error
    files = {path for path in matches if _is_picture(path.name) and not _is(path.is_dir)}
    if not files:
        many = f"{len(matches)} matches, but none is a picture file" if matches else "no file matches this pattern"
        raise InputError(f"{shown(pattern)}: {many}")
    return sorted(files, key=_natural)


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """Sort numbers inside names by value; the plain path decides between ``img1`` and ``img01``."""
    parts = [re.split(r"([0-9]+)", part.casefold()) for part in path.parts]
    return [[int(piece) if at % 2 else piece for at, piece in enumerate(pieces)] for pieces in parts], str(path)


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in FOUND_SUFFIXES  # noqa: PTH122 - a name, not a path


def _is(question: Callable[[], bool]) -> bool:
    """Ask a path something; a path that cannot even be asked about is answered when it is opened."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _unknown(source: object) -> str:
    kind = type(source).__name__
    return f"expected a path, pattern, NumPy array, Pillow image or Frame (or a list of these), got {kind}"
