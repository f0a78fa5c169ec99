"""Draw how one channel of each stage forms, from the timeline that the training wrote.

    python training/draw_forming.py --timeline training/runs/timeline --out docs/images/forming.png

Of each stage the channel is taken whose last map varies most in proportion to its own size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from layerscope.render import draw_sheet, to_bytes
from layerscope.training import Timeline, open_timeline

SHOWN_STEPS = 10
TILE_PX = 104


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeline", type=Path, default=Path(__file__).parent / "runs" / "timeline")
    parser.add_argument("--out", type=Path, default=Path("forming.png"))
    arguments = parser.parse_args()
    timeline = open_timeline(arguments.timeline)
    rows = [_row(timeline, layer) for layer in timeline.layers]
    picture = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(128).save(arguments.out, optimize=True)
    print(f"{arguments.out}: {picture.width} x {picture.height}")


def _row(timeline: Timeline, layer: str) -> Image.Image:
    steps, maps = [], []
    for entry, values in timeline.maps(layer):
        steps.append(entry.step)
        maps.append(values)
    last = maps[-1]
    channel = int((last.std((1, 2)) / (np.abs(last).mean((1, 2)) + 1e-6)).argmin())
    shown = sorted({round(at) for at in np.linspace(0, len(steps) - 1, SHOWN_STEPS)})
    tiles = torch.from_numpy(np.stack([maps[at][channel] for at in shown]))
    side = tiles.shape[-1]
    levels = to_bytes(tiles, "channel").bytes  # each step by its own values: what is there, not how much
    pixels = torch.nn.functional.interpolate(
        levels[None].float(), size=TILE_PX, mode="area" if side > TILE_PX else "nearest"
    )[0]
    return draw_sheet(
        pixels.round().byte().numpy(),
        header=[f"{layer}, channel {channel}", f"{side} x {side} cells; at these steps"],
        labels=[str(steps[at]) for at in shown],
        colormap="viridis",
        columns=SHOWN_STEPS,
    ).convert("RGB")


if __name__ == "__main__":
    main()
