"""Just one picture."""

from __future__ import annotations

from layerscope.errors import InputError
from layerscope.inputs.find import InputSource, find_inputs
from layerscope.inputs.frame import Frame
from layerscope.inputs.pictures import MAX_PIXELS

__all__ = ["open_frame"]


def open_frame(picture: InputSource, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Open the one picture that an input stands for.

    Args:
        picture: A path, an array, a Pillow image, or a Frame, which is returned as it is.
        max_pixels: Refuse larger pictures.

    Raises:
        InputError: It cannot be read, or stands for several pictures.
    """
    if isinstance(picture, Frame):
        return picture
    found = find_inputs(picture, max_pixels=max_pixels)
    if len(found) != 1:
        raise InputError(f"expected one picture, got {len(found)}; call this for each, or use run for all of them")
    return found[0].open()
