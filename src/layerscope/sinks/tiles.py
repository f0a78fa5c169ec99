"""Every channel to its own file: ``<layer>/out<channel>.jpg``."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from layerscope.hooks.feature_map import drawable
from layerscope.render import apply_colormap
from layerscope.render.colour import is_grey
from layerscope.sinks.png import encode_png

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.sink import Target, Write

__all__ = ["TILE_FORMATS", "Encoder", "Tiles", "encode_recipe_jpeg"]

Encoder = Callable[["NDArray[np.uint8]"], bytes]
"""(H, W) or (H, W, 3) RGB uint8 to the bytes of a picture file."""

JPEG_QUALITY = 95


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
    """

    kind = "tiles"
    draws = True

    def __init__(self, suffix: str = "jpg", colormap: str = "grey", encode: Encoder | None = None) -> None:
        self.suffix = suffix
        self.colormap = colormap
        self.encode = encode or TILE_FORMATS[suffix]

    def take(self, feature_map: FeatureMap, scaled: Scaled) -> Write:
        """Keep the bytes."""
        levels = drawable(scaled, feature_map.axes)

        def write(target: Target) -> str:
            folder = target.folder / target.layer_folder
            folder.mkdir()
            tiles = levels if is_grey(self.colormap) else apply_colormap(levels, self.colormap)
            for channel, tile in enumerate(tiles):
                with open(f"{folder}/out{channel}.{self.suffix}", "wb", buffering=0) as stream:  # noqa: PTH123 - thousands
                    stream.write(self.encode(np.ascontiguousarray(tile)))
            return f"{target.layer_folder}/out{{channel}}.{self.suffix}"

        return write


def _by_pillow(pixels: NDArray[np.uint8], name: str, **options: object) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()
