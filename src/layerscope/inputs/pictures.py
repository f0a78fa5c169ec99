"""Picture files, read with Pillow; whatever is wrong with one becomes one line that names it."""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from layerscope.errors import InputError, InputNotFoundError, OptionError
from layerscope.inputs.pixels import image_to_rgb

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

MAX_PIXELS = 178_956_970
"""The default limit on a picture's pixels: Pillow's own."""

# Formats that are pixels and nothing else (no PostScript to run, no fonts), and their files' endings.
_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
}

PICTURE_SUFFIXES = frozenset(ending for endings in _FORMATS.values() for ending in endings)
"""Endings, in lower case, by which pictures are found in folders."""


def read_picture(
    path_or_file: str | os.PathLike[str] | IO[bytes], *, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Read a picture file, the first frame where it has several.

    The EXIF turn is applied, grey and palettes become RGB, and alpha is dropped (see
    `layerscope.inputs.pixels`). 16-bit grey is scaled by 1/257; 16-bit colour keeps its high byte;
    floats must lie in 0..1; CMYK is converted without its colour profile.

    Args:
        path_or_file: A path, or a file opened for reading bytes, read from its start and left open.
        max_pixels: A larger picture is refused before any pixel of it is decoded.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputNotFoundError: There is no such file.
        InputError: It is no picture, broken, cut short, too large or may not be read.
        OptionError: `max_pixels` is not positive.
    """
    check_max_pixels(max_pixels)
    if not isinstance(path_or_file, str | os.PathLike):
        name = getattr(path_or_file, "name", None)
        return _read(path_or_file, shown(name) if isinstance(name, str) else "the picture", max_pixels)
    where = shown(path_or_file)
    try:
        path = Path(path_or_file)
        _check_is_file(path.stat(), where)
        with path.open("rb") as file:
            return _read(file, where, max_pixels)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputNotFoundError(f"no such file: {where}") from error
    except PermissionError as error:
        raise InputError(f"{where}: may not be read (permission denied)") from error
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: cannot be opened ({_reason(error)})") from error


def image_pixels(image: Image.Image, *, name: str = "the image", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a Pillow image, opened by whoever, under the same rules as `read_picture`.

    Args:
        image: Any image; it is not changed.
        name: What messages call it.
        max_pixels: The limit on its pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: It is broken, cut short, too large, or of a mode that does not convert to RGB.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(
            f"{name}: {width} x {height} = {width * height:,} pixels, over the limit of {max_pixels:,}; "
            "raise it with --max-pixels (in Python: max_pixels=)"
        )
    if width < 1 or height < 1:
        raise InputError(f"{name}: a picture without pixels ({width} x {height})")
    with _strict_pillow:
        try:
            return image_to_rgb(image)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except Exception as error:
            kind = f"{image.format} picture" if image.format else "picture"
            raise InputError(f"{name}: a {kind} that is broken or cut short ({_reason(error)})") from error


def check_max_pixels(max_pixels: int) -> None:
    """Refuse a limit that is no positive whole number."""
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise OptionError(f"expected max_pixels to be a positive whole number, got {max_pixels!r}")


def shown(path: str | os.PathLike[str]) -> str:
    """Write a path so that it stays on one line and can be printed anywhere."""
    text = os.fspath(path)
    if text.isprintable() and text.strip():
        return text
    return ascii(text)


def _check_is_file(status: os.stat_result, where: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{where}: a folder, where a picture file was expected")
    if not stat.S_ISREG(status.st_mode):  # a pipe would wait for ever, a device never end
        raise InputError(f"{where}: neither a file nor a folder, so no picture can be read from it")


def _read(file: IO[bytes], where: str, max_pixels: int) -> NDArray[np.uint8]:
    with _strict_pillow:
        try:
            if not file.seekable():
                file = io.BytesIO(file.read())
            file.seek(0)
            prefix = file.read(64)
            image = _identify(file, prefix) if isinstance(prefix, bytes) else None
        except Image.DecompressionBombError as error:  # some formats look at Pillow's global as well
            raise InputError(f"{where}: too many pixels for Pillow's own limit ({_reason(error)})") from error
        except Exception as error:
            # Pillow's parsers raise SyntaxError, struct.error, ValueError, EOFError, KeyError and more.
            raise InputError(f"{where}: broken or cut short ({_reason(error)})") from error
        if not isinstance(prefix, bytes):
            raise InputError(f"{where}: opened as text; a picture is read from a file opened with mode 'rb'")
        if not prefix:
            raise InputError(f"{where}: an empty file")
        if image is None:
            looks = "a text file, " if _is_text(prefix) else ""
            known = "JPEG, PNG, WebP, BMP, TIFF, GIF, PPM, AVIF or JPEG 2000"
            raise InputError(f"{where}: {looks}no picture of a known format ({known})")
        with image:
            return image_pixels(image, name=where, max_pixels=max_pixels)


def _identify(file: IO[bytes], prefix: bytes) -> ImageFile.ImageFile | None:
    """Read a picture's header, or return None where no format claims the file.

    This is what ``Image.open`` does, without its limit on pixels: that is a global of Pillow's,
    belongs to the user's program, and cannot be raised for one call.
    """
    Image.init()
    for format_name in _FORMATS:
        factory, accept = Image.OPEN.get(format_name, (None, None))
        if factory is not None and accept is not None and accept(prefix[:16]) is True:
            file.seek(0)
            return factory(file, "")
    return None


def open_animated(file: IO[bytes]) -> ImageFile.ImageFile | None:
    """Read the header of a picture of several frames; None for any other file.

    Args:
        file: Opened for reading bytes; it has to stay open while frames are read.
    """
    try:
        image = _identify(file, file.read(64))
    except Exception:  # what is wrong with it is said when it is read as a picture
        return None
    return image if getattr(image, "is_animated", False) else None


def _is_text(prefix: bytes) -> bool:
    return all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in prefix)


def _reason(error: BaseException) -> str:
    """Phrase a foreign exception on one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = " ".join(str(error).split())[:200]
    text = text if text.isprintable() else ascii(text)
    return text if " " in text else f"{type(error).__name__}: {text}".rstrip(": ")


class _StrictPillow:
    """While pictures are read, Pillow warns nobody and half a picture is an error.

    Both are globals of the process (other libraries set ``LOAD_TRUNCATED_IMAGES`` when imported),
    so the first reader of several threads sets them and the last one puts back what was there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._restore.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\b")
                before: Any = ImageFile.LOAD_TRUNCATED_IMAGES
                self._restore.callback(setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", before)
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._readers += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._restore.close()


_strict_pillow = _StrictPillow()
