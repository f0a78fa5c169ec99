"""A video for the benchmarks: the scenes that ship with Layerscope, moving past."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from layerscope.inputs.find import SCENES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["count_frames", "picture_at", "write_video"]

RATE = 25
SIZE_WH = (640, 480)


def picture_at(number: int) -> NDArray[np.uint8]:
    """Draw one frame, (480, 640, 3) uint8 RGB: another scene each four seconds, moving by two pixels a frame."""
    scenes = _scenes()
    scene = scenes[number // (4 * RATE) % len(scenes)]
    return np.roll(scene, (number % 7, -2 * number), axis=(0, 1))


@functools.cache
def _scenes() -> list[NDArray[np.uint8]]:
    return [np.asarray(Image.open(path).convert("RGB").resize(SIZE_WH)) for path in sorted(SCENES.iterdir())]


def write_video(path: Path, frames: int) -> None:
    """Write an MP4 of so many frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=RATE)
        stream.width, stream.height = SIZE_WH
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture_at(number), format="rgb24")))
        container.mux(stream.encode())


def count_frames(path: Path) -> int:
    """Count a video's frames by decoding it."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
