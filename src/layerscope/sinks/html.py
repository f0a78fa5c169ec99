"""One page of a run: ``index.html``, which opens from disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from layerscope.sinks.page import write_page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor
    from pathlib import Path
    from typing import Any

    from layerscope.hooks import FeatureMap
    from layerscope.inputs import Frame
    from layerscope.sinks.manifest import FrameRecord
    from layerscope.sinks.sink import Ending

__all__ = ["PICTURE", "Html"]

PAGE, PICTURE = "index.html", "picture.jpg"

PICTURE_PX = 960
"""The longer side of the copy of a frame, at most."""


class Html:
    """Writes the page, and for each frame a small copy of its picture."""

    kind = "html"
    draws = True
    colormap = None

    def take(self, feature_map: FeatureMap, scaled: Any) -> None:
        """Take nothing: the page shows what the other sinks write."""

    def end_frame(self, folder: Path, frame: Frame) -> str:
        """Write the copy of the picture."""
        from PIL import Image

        height, width = frame.pixels.shape[:2]
        pixels = frame.pixels
        if max(height, width) > PICTURE_PX:
            share = PICTURE_PX / max(height, width)
            size = max(1, round(width * share)), max(1, round(height * share))
            picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
            pixels = np.array(picture)
        (folder / PICTURE).write_bytes(simplejpeg.encode_jpeg(pixels, quality=85, colorspace="RGB"))
        return PICTURE

    def begin(self, folder: Path, encoders: Executor) -> _Gathering:  # noqa: ARG002 - nothing to do side by side
        """Begin, or go on."""
        return _Gathering(folder)


class _Gathering:
    """A page that is written at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, row: int, frame: FrameRecord, pieces: Mapping[str, Any]) -> None:
        """Need nothing: the manifest has it."""

    def flush(self) -> None:
        """Hold nothing."""

    def close(self) -> None:
        """Hold nothing open."""

    def finish(self, ending: Ending) -> Mapping[str, Mapping[str, str]]:
        """Write the page."""
        staged = self._folder / PAGE
        write_page(staged, ending.head, ending.frames())
        staged.replace(ending.out / PAGE)
        return {"html": {"": PAGE}}
