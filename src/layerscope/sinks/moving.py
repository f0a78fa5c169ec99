"""Pictures one after another: H.264 in mp4, and animated WebP."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from layerscope.errors import OptionError, OutputError
from layerscope.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Pictures = Iterable[NDArray[np.uint8]]

__all__ = ["CONSTANT_RATE_FACTOR", "MOVING_FORMATS", "WEBP_QUALITY", "of_size", "write_moving"]

CONSTANT_RATE_FACTOR = "18"
"""x264's quality at which lines and letters stay clear; lower is better."""

WEBP_QUALITY = 85


def write_moving(path: Path, pictures: Pictures, fps: float) -> Path:
    """Write a moving picture in the format of the path's ending; the file appears when it is whole.

    Args:
        path: Ends in ``.mp4`` or ``.webp``.
        pictures: (H, W, 3) uint8 RGB; those of another size than the first are padded with white or cut to it.
        fps: Pictures a second.

    Raises:
        OptionError: Another ending, or a rate that is not positive.
        OutputError: There are no pictures, or the file cannot be written.
        MissingExtraError: mp4 needs PyAV.
    """
    write = MOVING_FORMATS.get(path.suffix.removeprefix("."))
    if write is None:
        raise OptionError(f"{path.name}: a moving picture ends in {' or '.join(f'.{name}' for name in MOVING_FORMATS)}")
    if not 0 < fps <= 1000:
        raise OptionError(f"fps: expected a rate above 0 and up to 1000, got {fps}")
    pictures = iter(pictures)
    first = next(pictures, None)
    if first is None:
        raise OutputError(f"{path}: there are no pictures to write")
    part = path.with_name(f".{path.name}.part")
    try:
        write(part, _of_one_size(itertools.chain([first], pictures), first.shape[:2]), fps)
        part.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        part.unlink(missing_ok=True)
    return path


def _write_mp4(path: Path, pictures: Iterator[NDArray[np.uint8]], fps: float) -> None:
    av = require("av", "video")
    first = next(pictures)
    even_hw = tuple(side + side % 2 for side in first.shape[:2])  # 4:2:0 halves the colours
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = even_hw
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": CONSTANT_RATE_FACTOR, "preset": "medium"}
        for picture in _of_one_size(itertools.chain([first], pictures), even_hw):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _write_webp(path: Path, pictures: Iterator[NDArray[np.uint8]], fps: float) -> None:
    first, *others = (Image.fromarray(picture) for picture in pictures)
    options = {"duration": round(1000 / fps), "loop": 0, "quality": WEBP_QUALITY}
    first.save(path, "WEBP", save_all=True, append_images=others, **options)


def _of_one_size(pictures: Pictures, size_hw: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    return (of_size(picture, size_hw) for picture in pictures)


def of_size(picture: NDArray[np.uint8], size_hw: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pad an (H, W, 3) picture with white, or cut it, to a height and width."""
    if picture.shape[:2] == size_hw:
        return np.ascontiguousarray(picture)
    padded = np.full((*size_hw, 3), 255, np.uint8)
    kept = picture[: size_hw[0], : size_hw[1]]
    padded[: kept.shape[0], : kept.shape[1]] = kept
    return padded


MOVING_FORMATS: dict[str, Callable[[Path, Iterator[NDArray[np.uint8]], float], None]] = {
    "mp4": _write_mp4,
    "webp": _write_webp,
}
