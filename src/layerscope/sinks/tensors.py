"""The values themselves: ``tensors/<layer>.safetensors``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from layerscope.errors import RunFolderError
from layerscope.hooks.feature_map import as_plain
from layerscope.render import to_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from layerscope.hooks import FeatureMap
    from layerscope.render import Scaled
    from layerscope.sinks.sink import Target, Write

__all__ = ["TENSOR_TYPES", "Tensors", "as_type", "from_eight_bits", "read_tensor", "to_eight_bits"]

TENSOR_TYPES = ("f32", "f16", "q8")
"""As captured in single precision; in half precision; in 8 bits between each channel's smallest and largest value."""

LARGEST_HALF = 65504.0


class Tensors:
    """Writes one safetensors file a layer, for any program that reads the format.

    The tensor is called ``values``; under ``q8`` it is uint8, and ``scale`` and ``offset`` beside it, float32, one
    for every entry of the first axis, give ``values * scale + offset``. A layer that half precision cannot hold
    (beyond 65504) is kept in single precision. NaN and infinities survive in all but ``q8``.

    Args:
        tensor_type: ``f32``, ``f16`` or ``q8``.
    """

    kind = "tensors"
    draws = False
    colormap = None

    def __init__(self, tensor_type: str = "f32") -> None:
        self.tensor_type = tensor_type

    def take(self, feature_map: FeatureMap, scaled: Scaled | None) -> Write:  # noqa: ARG002
        """Copy the values."""
        values = as_plain(feature_map.values.detach())
        arrays = (
            to_eight_bits(values) if self.tensor_type == "q8" else {"values": as_type(values, self.tensor_type).copy()}
        )

        def write(target: Target) -> str:
            from safetensors.numpy import save_file

            folder = target.folder / self.kind
            folder.mkdir(exist_ok=True)
            path = folder / f"{target.layer_folder}.safetensors"
            save_file(arrays, path, metadata={"layer": target.layer})
            return f"{self.kind}/{path.name}"

        return write


def read_tensor(path: Path) -> NDArray[np.float32]:
    """Read what ``Tensors`` wrote, as float32.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
        values = arrays["values"]
    except (OSError, SafetensorError, KeyError) as error:
        raise RunFolderError(f"{path}: cannot be read ({error})") from None
    return from_eight_bits(arrays) if "scale" in arrays else values.astype(np.float32)


def as_type(values: Tensor, tensor_type: str) -> NDArray[np.float32 | np.float16]:
    """Give values as ``f32`` or ``f16``, maybe in their own memory; as single precision too where half is too small."""
    array = np.ascontiguousarray(values.float().cpu().numpy())  # what writes them writes memory as it lies
    fits = tensor_type == "f16" and not (np.abs(array[np.isfinite(array)]) > LARGEST_HALF).any()
    return array.astype(np.float16) if fits else array


def to_eight_bits(values: Tensor) -> dict[str, NDArray[np.generic]]:
    """Copy values as ``values`` of 8 bits, with ``scale`` and ``offset`` for every entry of the first axis."""
    scaled = to_bytes(values.reshape(len(values), 1, -1) if values.ndim else values.reshape(1, 1, 1), "channel")
    low, high = scaled.low.astype(np.float32), scaled.high.astype(np.float32)
    levels = np.ascontiguousarray(scaled.bytes.cpu().numpy()).reshape(tuple(values.shape))
    return {"values": levels, "scale": (high - low) / 255, "offset": low}


def from_eight_bits(arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    """Turn what ``to_eight_bits`` made back into values."""
    by_channel = (-1, *[1] * (arrays["values"].ndim - 1))
    scale, offset = (arrays[name].astype(np.float32).reshape(by_channel) for name in ("scale", "offset"))
    return arrays["values"].astype(np.float32) * scale + offset
