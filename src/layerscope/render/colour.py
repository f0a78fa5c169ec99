"""Colour maps: bytes to RGB through a table of 256 colours."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from layerscope.errors import OptionError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apply_colormap", "colormap_table", "default_colormap", "is_grey"]

_GREY = ("grey", "gray")


def is_grey(name: str) -> bool:
    """Tell whether a colour map is the plain grey ramp, which needs no table."""
    return name in _GREY


@lru_cache(maxsize=64)
def colormap_table(name: str) -> NDArray[np.uint8]:
    """Give a colour map's table.

    Args:
        name: ``grey``, ``gray``, or any name that ``cmap`` knows, such as ``viridis``,
            ``cmocean:balance`` or ``vik_r``.

    Returns:
        (256, 3) uint8 RGB, read-only.

    Raises:
        OptionError: No such colour map; the message names the nearest.

    >>> colormap_table("grey")[[0, 128, 255]].tolist()
    [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    """
    if is_grey(name):
        table = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    else:
        import cmap

        # Called rather than asked for its table: that of a qualitative map is shorter than 256.
        colors = np.asarray(cmap.Colormap(_qualified(name))(np.arange(256) / 255))
        table = np.rint(np.clip(colors[:, :3], 0, 1) * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def apply_colormap(values: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Colour bytes.

    Args:
        values: (...,) uint8.
        name: A name that ``colormap_table`` knows.

    Returns:
        (..., 3) uint8 RGB.

    Raises:
        OptionError: No such colour map, or values that are not bytes.
    """
    values = np.asarray(values)
    if values.dtype != np.uint8:
        raise OptionError(f"a colour map takes uint8 values, got {values.dtype}; scale them first")
    table = colormap_table(name)
    if values.ndim < 2 or values.size == 0:
        return np.take(table, values, axis=0)
    # Pillow looks colours up in half the time that NumPy takes.
    picture = Image.fromarray(values.reshape(-1, values.shape[-1]))
    picture.putpalette(table.tobytes())
    return np.asarray(picture.convert("RGB")).reshape(*values.shape, 3)


def default_colormap(rule: str) -> str:
    """Name the colour map that suits a scale.

    Args:
        rule: The name of a scale.

    Returns:
        A diverging map with a neutral middle where zero lies in the middle; the plain grey of the
        values where they are shown as they are; a perceptually uniform map else.
    """
    return {"symmetric": "RdBu_r", "unit": "grey"}.get(rule, "viridis")


def _qualified(name: str) -> str:
    """Resolve a name as typed to the one full name, so that cmap has nothing to warn of."""
    import cmap

    catalog = cmap.Colormap.catalog()
    for stem, ending in ((name, ""), (name.removesuffix("_r"), "_r")):
        try:
            return catalog.resolve(stem) + ending
        except KeyError:
            continue
    choices = [*_GREY, *catalog.short_keys()]
    near = nearest(name.lower(), choices) or "; try viridis, inferno, RdBu_r or grey"
    raise OptionError(f"no colour map '{name}'{near}")
