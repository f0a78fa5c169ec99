"""Every channel to its own file: ``<layer>/out<channel>.jpg``, or all of a frame into ``tiles.zip``."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from layerscope.hooks.feature_map import drawable
from layerscope.render import apply_colormap
from layerscope.render.colour import is_grey
from layerscope.sinks.png import encode_png

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.inputs import Frame
    from layerscope.render import Scaled
    from layerscope.sinks.sink import Target, Write

__all__ = ["PACKED", "PACKS", "TILE_FORMATS", "Encoder", "Tiles", "encode_recipe_jpeg"]

Encoder = Callable[["NDArray[np.uint8]"], bytes]
"""(H, W) or (H, W, 3) RGB uint8 to the bytes of a picture file."""

JPEG_QUALITY = 95

PACKS = ("zip",)
PACKED = "tiles.zip"


def encode_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encode with simplejpeg, twice as fast as Pillow."""
    import simplejpeg

    if pixels.ndim == 2:
        return bytes(simplejpeg.encode_jpeg(pixels[..., None], quality=JPEG_QUALITY, colorspace="GRAY"))
    return bytes(simplejpeg.encode_jpeg(pixels, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444"))


def encode_recipe_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encode as OpenCV's ``imwrite`` does by default: the same pixels when decoded."""
    return _by_pillow(pixels, "JPEG", quality=JPEG_QUALITY)


def encode_webp(pixels: NDArray[np.uint8]) -> bytes:
    """Encode as lossless WebP."""
    return _by_pillow(pixels, "WEBP", lossless=True, method=0)


TILE_FORMATS: dict[str, Encoder] = {"jpg": encode_jpeg, "png": encode_png, "webp": encode_webp}


class Tiles:
    """Writes tile n of channel n.

    Args:
        suffix: ``jpg``, ``png`` or ``webp``.
        colormap: ``grey`` gives pictures of one channel, any other colour.
        encode: Replaces the format's own encoder.
        pack: ``zip``: all tiles of a frame into one file, not compressed again; None: each is a file.
    """

    kind = "tiles"
    draws = True

    def __init__(
        self, suffix: str = "jpg", colormap: str = "grey", encode: Encoder | None = None, *, pack: str | None = None
    ) -> None:
        self.suffix = suffix
        self.colormap = colormap
        self.encode = encode or TILE_FORMATS[suffix]
        self.pack = pack
        self._packed: dict[Path, dict[str, list[bytes]]] = {}

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write:
        """Keep the bytes."""
        levels = drawable(scaled, feature_map.axes)

        def write(target: Target) -> str:
            tiles = levels if is_grey(self.colormap) else apply_colormap(levels, self.colormap)
            encoded = (self.encode(np.ascontiguousarray(tile)) for tile in tiles)
            path = f"{target.layer_folder}/out{{channel}}.{self.suffix}"
            if self.pack:
                self._packed.setdefault(target.folder, {})[path] = list(encoded)
                return f"{PACKED}/{path}"
            folder = target.folder / target.layer_folder
            folder.mkdir()
            for channel, content in enumerate(encoded):
                _write_file(f"{folder}/out{channel}.{self.suffix}", content)
            return path

        return write

    def end_frame(self, folder: Path, frame: Frame) -> None:  # noqa: ARG002
        """Write the packed tiles of a frame."""
        layers = self._packed.pop(folder, None)
        if layers is None:
            return
        with zipfile.ZipFile(folder / PACKED, "w", zipfile.ZIP_STORED) as archive:
            for path, tiles in sorted(layers.items()):
                for channel, content in enumerate(tiles):
                    # Entries named so carry no time of day, so equal runs give equal files.
                    archive.writestr(zipfile.ZipInfo(path.replace("{channel}", str(channel))), content)


def _write_file(path: str, content: bytes) -> None:
    """Write one of thousands of small files by three calls of the system, between each of which threads take turns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        left = memoryview(content)
        while left:  # a disk that is about to be full takes less than all
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def _by_pillow(pixels: NDArray[np.uint8], name: str, **options: object) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()
