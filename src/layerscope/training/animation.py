"""How layers form: a timeline as moving pictures and as strips."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from layerscope.errors import LayerError, OptionError, OutputError
from layerscope.hooks.feature_map import as_maps
from layerscope.models.axes import read_axes
from layerscope.render import Scaled, channel_extent, default_colormap, draw_sheet, to_bytes
from layerscope.render.statistics import ChannelExtent
from layerscope.sinks.folders import layer_folders
from layerscope.sinks.moving import write_moving
from layerscope.sinks.passing import as_output_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from layerscope.training.timeline import StepRecord, Timeline

__all__ = ["animate", "draw_strip"]

LARGEST_PX = 1440
"""Sheets are reduced to this: what a screen shows at once."""


def animate(
    timeline: Timeline,
    out: str | Path | None = None,
    *,
    layers: Sequence[str] | None = None,
    frame: str | None = None,
    formats: Sequence[str] = ("mp4", "webp"),
    scale: str = "channel",
    each_step: bool = False,
    colormap: str | None = None,
    fps: float = 4,
) -> dict[str, list[Path]]:
    """Write each layer's sheet over the steps as a moving picture.

    Black and white mean the same at every step, taken over the whole timeline, so that growth is seen as growth.

    Args:
        timeline: From ``open_timeline``; its runs must hold tensors.
        out: The folder to write; None: ``animations`` in the timeline's own.
        layers: Which; None: all.
        frame: Which probe frame; None: the first.
        formats: ``mp4`` (needs the extra ``video``) and ``webp``.
        scale: ``channel``, ``layer``, ``symmetric`` or ``unit``; with ``each_step`` also ``percentile``.
        each_step: Scale every step by its own values instead.
        colormap: A colour map's name; None: what suits the scale.
        fps: Steps shown a second.

    Returns:
        Layers to the files, in the order of ``formats``.

    Raises:
        LayerError: A layer is not in the timeline.
        OutputError: No step was logged, or the folder cannot be written.
    """
    if not len(timeline):
        raise OutputError(f"{timeline.folder}: no step is logged yet")
    folder = timeline.folder / "animations" if out is None else Path(out)
    with as_output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, list[Path]] = {}
    for layer, name in layer_folders(layers or timeline.layers).items():
        scaled = _Scaling(timeline, layer, frame, scale, each_step=each_step)
        written[layer] = [
            write_moving(folder / f"{name}.{suffix}", _sheets(scaled, colormap), fps) for suffix in formats
        ]
    return written


def draw_strip(
    timeline: Timeline,
    layer: str,
    channel: int,
    *,
    frame: str | None = None,
    scale: str = "channel",
    each_step: bool = False,
    colormap: str | None = None,
) -> Image:
    """Draw one channel at every step on one picture, each with its step.

    Args:
        timeline: From ``open_timeline``; its runs must hold tensors.
        layer: The layer's name.
        channel: Which of its channels.
        frame: Which probe frame; None: the first.
        scale: As ``animate`` takes it.
        each_step: Scale every step by its own values.
        colormap: A colour map's name; None: what suits the scale.

    Raises:
        LayerError: There is no such layer or channel.
    """
    tiles, steps = [], []
    for entry, scaled in _Scaling(timeline, layer, frame, scale, each_step=each_step):
        if not 0 <= channel < len(scaled.bytes):
            raise LayerError(f"{layer} has channels 0 to {len(scaled.bytes) - 1}, not {channel}")
        tiles.append(scaled.bytes[channel].numpy())
        steps.append(str(entry.step))
    if not tiles:
        raise OutputError(f"{timeline.folder}: no step is logged yet")
    how = f"scale {scale}{', each step its own' if each_step else ' over all steps'}"
    return draw_sheet(
        np.stack(tiles),
        header=[layer, f"channel {channel} at {len(steps)} steps; {how}"],
        labels=steps,
        colormap=colormap or default_colormap(scale),
        max_px=LARGEST_PX,
    )


class _Scaling:
    """A layer's maps as bytes, step by step; may be gone through several times.

    Raises:
        OptionError: The scale looks at single values, which cannot be shared between steps.
    """

    def __init__(self, timeline: Timeline, layer: str, frame: str | None, scale: str, *, each_step: bool) -> None:
        self.timeline, self.layer, self.frame, self.scale, self.each_step = timeline, layer, frame, scale, each_step
        if not each_step and scale == "percentile":
            raise OptionError("scale percentile looks at one step at a time: say each_step, or take another scale")
        self.extent = None if each_step else self._over_all_steps()

    def __iter__(self) -> Iterator[tuple[StepRecord, Scaled]]:
        for entry, values in self.timeline.maps(self.layer, self.frame):
            yield entry, to_bytes(_as_maps(values), self.scale, extent=self.extent)

    def _over_all_steps(self) -> ChannelExtent | None:
        maps = (_as_maps(values) for _, values in self.timeline.maps(self.layer, self.frame))
        return reduce(_joined, map(channel_extent, maps), None)


def _joined(one: ChannelExtent | None, other: ChannelExtent) -> ChannelExtent:
    """Return the range of both together."""
    if one is None:
        return other
    low, high = np.fmin(one.min, other.min), np.fmax(one.max, other.max)
    return ChannelExtent(
        min=low,
        max=high,
        constant=one.constant & other.constant & (low == high),
        nan=one.nan | other.nan,
        inf=one.inf | other.inf,
    )


def _sheets(scaling: _Scaling, colormap: str | None) -> Iterator[NDArray[np.uint8]]:
    for entry, scaled in scaling:
        channels, height, width = scaled.bytes.shape
        numbers = "".join(f", {name} {value:.4g}" for name, value in entry.numbers.items())
        how = "each step its own" if scaling.each_step else "over all steps"
        sheet = draw_sheet(
            scaled.bytes.numpy(),
            header=[
                scaling.layer,
                f"step {entry.step}{numbers}",
                f"{channels} channels of {height} x {width}; scale {scaling.scale}, {how}",
            ],
            colormap=colormap or default_colormap(scaling.scale),
            value_range=scaled.shared_range,
            max_px=LARGEST_PX,
        )
        yield np.asarray(sheet.convert("RGB"))


def _as_maps(values: NDArray[np.float32]) -> Tensor:
    return as_maps(torch.from_numpy(values), read_axes(values.shape, None))
