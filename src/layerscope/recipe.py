"""The well-known recipe's own function, for people who do edit their ``forward()``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from layerscope.errors import LayerError, OutputError
from layerscope.render import to_bytes
from layerscope.sinks.tiles import encode_recipe_jpeg

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["to_image", "to_images"]


def to_image(tensor: Tensor, channel: int, layer_name: str, *, folder: str | Path = "featuremap") -> Path:
    """Write one channel as the recipe does: ``featuremap/<layer_name>/out<channel>.jpg``.

    The first item of the batch is taken, its values times 255 are rounded and clipped to bytes, and the JPEG
    decodes to the pixels that OpenCV's ``imwrite`` would have written.

    Args:
        tensor: (N, C, H, W) on any device, with or without gradient.
        channel: Which channel.
        layer_name: Name of the folder.
        folder: Where that folder is.

    Returns:
        The file.

    Raises:
        LayerError: The tensor has another rank, or no such channel.
        OutputError: The file cannot be written.
    """
    _check(tensor)
    if not 0 <= channel < tensor.shape[1]:
        raise LayerError(f"channel {channel}: the tensor has channels 0 to {tensor.shape[1] - 1}")
    return _write(tensor[0, channel : channel + 1], [channel], Path(folder, layer_name))[0]


def to_images(tensor: Tensor, layer_name: str, *, folder: str | Path = "featuremap") -> list[Path]:
    """Write every channel as ``to_image`` does, all at once.

    Args:
        tensor: (N, C, H, W) on any device, with or without gradient.
        layer_name: Name of the folder.
        folder: Where that folder is.

    Returns:
        The files, in the order of the channels.

    Raises:
        LayerError: The tensor has another rank.
        OutputError: A file cannot be written.
    """
    _check(tensor)
    return _write(tensor[0], range(tensor.shape[1]), Path(folder, layer_name))


def _check(tensor: Tensor) -> None:
    if tensor.ndim != 4 or tensor.shape[0] == 0:
        raise LayerError(f"expected a tensor (N, C, H, W), got shape {tuple(tensor.shape)}")


def _write(values: Tensor, channels: list[int] | range, folder: Path) -> list[Path]:
    levels = to_bytes(values, "unit").bytes.cpu().numpy()
    paths = [folder / f"out{channel}.jpg" for channel in channels]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, tile in zip(paths, levels, strict=True):
            path.write_bytes(encode_recipe_jpeg(tile))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return paths
