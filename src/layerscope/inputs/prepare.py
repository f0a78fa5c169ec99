"""Frame to network input: resize, order of channels, range, normalisation."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np

from layerscope.errors import OptionError, nearest
from layerscope.inputs.frame import Frame, Placement
from layerscope.inputs.resize import FILTERS, Window, resize

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from numpy.typing import NDArray

ResizeMode: TypeAlias = Literal["stretch", "letterbox", "crop"]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]
ValueRange: TypeAlias = Literal["0-1", "0-255"]
Triple: TypeAlias = tuple[float, float, float]

MAX_SIDE = 16384
"""The longest side of a network input that is accepted, pixels."""

_CHOICES = {
    "resize": ("stretch", "letterbox", "crop"),
    "filter": tuple(FILTERS),
    "order": ("rgb", "bgr"),
    "range": ("0-1", "0-255"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How a frame becomes a network's input.

    Attributes:
        size_hw: Height and width of the input, pixels.
        resize: ``stretch`` to the size; ``letterbox``: fit inside it and pad; ``crop``: fill it and
            cut what hangs over, evenly on both sides.
        crop_share: Under ``crop``, how much of the resized picture is kept along its shorter side: 0.875 resizes to
            256 and keeps 224.
        filter: How pixels are interpolated, a name of `layerscope.inputs.resize.FILTERS`.
        order: The order of the three channels that the network expects.
        range: ``0-1`` divides the bytes by 255; ``0-255`` leaves their values.
        mean: Subtracted from each channel, in units of `range` and in the channels' `order`.
        std: Divided by, likewise; after the mean.
        pad: Grey level of a letterbox's border, 0 to 255, in bytes before `range`.

    Raises:
        OptionError: A value outside its choices or range.

    >>> Preparation(size_hw=(288, 352), resize="letterbox").pad
    128
    """

    size_hw: tuple[int, int] = (416, 416)
    resize: ResizeMode = "stretch"
    crop_share: float = 1.0
    filter: str = "bilinear"
    order: ChannelOrder = "rgb"
    range: ValueRange = "0-1"
    mean: Triple | None = None
    std: Triple | None = None
    pad: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", _checked_size(self.size_hw))
        for option, choices in _CHOICES.items():
            value = getattr(self, option)
            if value not in choices:
                hint = nearest(value, choices) if isinstance(value, str) else ""
                raise OptionError(f"{option}={value!r}: expected one of {', '.join(choices)}{hint}")
        for option in ("mean", "std"):
            object.__setattr__(self, option, _checked_triple(option, getattr(self, option)))
        if self.std is not None and 0 in self.std:
            raise OptionError(f"std={self.std}: expected no zero, for the channels are divided by it")
        if not isinstance(self.crop_share, int | float) or not 0.05 <= self.crop_share <= 1:
            raise OptionError(f"crop_share={self.crop_share!r}: expected a number from 0.05 to 1")
        if not _is_whole(self.pad) or not 0 <= self.pad <= 255:
            raise OptionError(f"pad={self.pad!r}: expected a grey level from 0 to 255")
        object.__setattr__(self, "pad", int(self.pad))


def with_options(
    preparation: Preparation,
    *,
    size: int | tuple[int, int] | None = None,
    resize: str | None = None,
    crop_share: float | None = None,
    filter: str | None = None,  # noqa: A002 - the option's public name
    order: str | None = None,
    range: str | None = None,  # noqa: A002 - the option's public name
    mean: Iterable[float] | None = None,
    std: Iterable[float] | None = None,
    pad: int | None = None,
) -> Preparation:
    """Change a preparation by the public option names; None leaves a value as it is.

    Args:
        preparation: What to start from; it is not changed.
        size: Height and width, or one number for both, pixels.
        resize: See `Preparation`, as for the rest.
        crop_share: As there.
        filter: As there.
        order: As there.
        range: As there.
        mean: As there.
        std: As there.
        pad: As there.

    Returns:
        A new preparation.

    Raises:
        OptionError: A value outside its choices or range.

    >>> with_options(Preparation(), size=608, order="bgr").size_hw
    (608, 608)
    """
    size_hw = (size, size) if _is_whole(size) else size
    given = {
        "size_hw": size_hw,
        "resize": resize,
        "crop_share": crop_share,
        "filter": filter,
        "order": order,
        "range": range,
        "mean": mean,
        "std": std,
        "pad": pad,
    }
    changes = {option: value for option, value in given.items() if value is not None}
    return dataclasses.replace(preparation, **changes)  # type: ignore[arg-type]  # checked in __post_init__


def parse_size(text: str) -> tuple[int, int]:
    """Read a size as it is typed: one number, or height x width.

    Args:
        text: Such as ``416`` or ``288x352``.

    Returns:
        Height and width, pixels.

    Raises:
        OptionError: It is neither, or outside 1 to 16384.

    >>> parse_size("416"), parse_size("288x352")
    ((416, 416), (288, 352))
    """
    match = re.fullmatch(r"\s*([0-9]{1,9})(?:\s*[xX\u00d7]\s*([0-9]{1,9}))?\s*", text)
    if match is None:
        raise OptionError(f"size {text!r}: expected a number or height x width, such as 416 or 288x352")
    height = int(match[1])
    return _checked_size((height, int(match[2]) if match[2] else height))


def prepare(frame: Frame, preparation: Preparation) -> tuple[torch.Tensor, Placement]:
    """Make a network's input of a frame.

    Args:
        frame: The picture.
        preparation: How.

    Returns:
        (1, 3, H, W) float32, contiguous, and where the frame lies in it.

    Raises:
        InputError: The frame's pixels are not (H, W, 3) uint8.
    """
    import torch

    pixels, placement = place(frame, preparation)
    if preparation.order == "bgr":
        pixels = pixels[:, :, ::-1]
    values = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
    if preparation.range == "0-1":
        values /= np.float32(255)
    if preparation.mean is not None:
        values -= np.asarray(preparation.mean, np.float32)[:, None, None]
    if preparation.std is not None:
        values /= np.asarray(preparation.std, np.float32)[:, None, None]
    return torch.from_numpy(values), placement


def place(frame: Frame, preparation: Preparation) -> tuple[NDArray[np.uint8], Placement]:
    """Resize a frame and lay it into the input, still as RGB bytes.

    Args:
        frame: The picture.
        preparation: How; only size, resize, filter and pad matter here.

    Returns:
        (H, W, 3) uint8 RGB of the input's size, and where the frame lies in it.

    Raises:
        InputError: The frame's pixels are not (H, W, 3) uint8.

    >>> frame = Frame(name="wide", pixels=np.zeros((50, 100, 3), np.uint8))
    >>> pixels, placement = place(frame, Preparation(size_hw=(64, 64), resize="letterbox"))
    >>> pixels[0, 0].tolist(), placement.offset_xy, placement.scale_xy
    ([128, 128, 128], (0.0, 16.0), (0.64, 0.64))
    """
    input_hw = preparation.size_hw
    new_hw = _new_size(frame.size_hw, preparation)
    # Positive where a border is left, negative where the frame hangs over.
    left, top = _offset(input_hw[1], new_hw[1]), _offset(input_hw[0], new_hw[0])
    height, width = min(input_hw[0], new_hw[0]), min(input_hw[1], new_hw[1])
    window = Window(max(0, -top), max(0, -left), height, width)
    pixels = resize(frame.pixels, new_hw, preparation.filter, window=window)
    if (height, width) != input_hw:
        canvas = np.full((*input_hw, 3), preparation.pad, np.uint8)
        canvas[max(0, top) :, max(0, left) :][:height, :width] = pixels
        pixels = canvas
    placement = Placement(
        frame_hw=frame.size_hw,
        input_hw=input_hw,
        scale_xy=(new_hw[1] / frame.size_hw[1], new_hw[0] / frame.size_hw[0]),
        offset_xy=(float(left), float(top)),
    )
    return pixels, placement


def _new_size(frame_hw: tuple[int, int], preparation: Preparation) -> tuple[int, int]:
    """Find the height and width that the whole frame is resized to, before padding or cutting.

    Under ``letterbox`` lengths are ``int(side * scale)`` in float arithmetic, as such functions commonly have it:
    the last pixel is theirs even where the product falls a hair short of a whole number. Under ``crop`` they are
    whole-number division, as torchvision has it.
    """
    input_hw = preparation.size_hw
    if preparation.resize == "stretch":
        return input_hw
    ratios = [new / old for new, old in zip(input_hw, frame_hw, strict=True)]
    if preparation.resize == "letterbox":
        height, width = (max(1, int(old * min(ratios))) for old in frame_hw)
    else:
        filled = [max(side, round(side / preparation.crop_share)) for side in input_hw]
        new, old = max(zip(filled, frame_hw, strict=True), key=lambda pair: Fraction(*pair))
        height, width = (max(least, side * new // old) for least, side in zip(filled, frame_hw, strict=True))
    return height, width


def _offset(outer: int, inner: int) -> int:
    """Centre one length in another: a border rounded down, a cut to even, as torchvision does."""
    return (outer - inner) // 2 if inner <= outer else -round((inner - outer) / 2)


def _checked_size(size: object) -> tuple[int, int]:
    if not isinstance(size, tuple | list) or len(size) != 2 or not all(map(_is_whole, size)):
        raise OptionError(f"size {size!r}: expected two whole numbers, (height, width)")
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise OptionError(f"size {size[0]}x{size[1]}: expected sides from 1 to {MAX_SIDE}")
    return int(size[0]), int(size[1])


def _checked_triple(option: str, values: object) -> Triple | None:
    if values is None:
        return None
    try:
        numbers = tuple(float(value) for value in cast("Iterable[float]", values))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise OptionError(f"{option}={values!r}: expected three finite numbers, one per channel")
    return numbers


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
