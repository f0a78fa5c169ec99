"""A frame, and where it lies in a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One picture on its way through a network.

    Attributes:
        name: What its output folder is called; the file name without its ending.
        pixels: (H, W, 3) uint8 RGB.
        path: The file it was read from; None for an array.
        time_s: Seconds from the beginning of the video that it is from; None for a picture.
    """

    name: str
    pixels: NDArray[np.uint8]
    path: Path | None = None
    time_s: float | None = None

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a frame lies in the network's input.

    Coordinates are continuous and count from the outer corner of the first pixel, so a frame
    spans ``[0, width] x [0, height]`` and a point ``(x, y)`` of it lies at
    ``(x * scale_xy[0] + offset_xy[0], y * scale_xy[1] + offset_xy[1])`` of the input.

    Attributes:
        frame_hw: Height and width of the frame, pixels.
        input_hw: Height and width of the network's input, pixels.
        scale_xy: Input pixels per frame pixel.
        offset_xy: The frame's upper left corner in the input; negative where it was cropped.
    """

    frame_hw: tuple[int, int]
    input_hw: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def to_frame(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points of the input to the frame.

        Args:
            xy: (..., 2) x and y in input pixels.

        Returns:
            (..., 2) x and y in frame pixels, not clipped.

        >>> wide = Placement(frame_hw=(100, 200), input_hw=(50, 50), scale_xy=(0.25, 0.25), offset_xy=(0, 12))
        >>> wide.to_frame(np.array([25.0, 12.0])).tolist()
        [100.0, 0.0]
        """
        return (np.asarray(xy, np.float64) - self.offset_xy) / self.scale_xy

    def to_input(self, xy: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map points of the frame to the input.

        Args:
            xy: (..., 2) x and y in frame pixels.

        Returns:
            (..., 2) x and y in input pixels.
        """
        return np.asarray(xy, np.float64) * self.scale_xy + self.offset_xy
