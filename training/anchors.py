"""Nine anchors that fit the scenes' boxes: the middles of nine equally large groups of boxes of similar size."""

from __future__ import annotations

import argparse

import numpy as np

from scenes import scene

__all__ = ["quantile_anchors"]

STRIDES = (8, 16, 32)
PER_STRIDE = 3


def quantile_anchors(scenes: int) -> dict[int, tuple[tuple[float, float], ...]]:
    """Choose anchors from training scenes.

    The shapes may be turned by any angle, so no box is typically high or wide, and square anchors fit best.

    Args:
        scenes: How many scenes to look at.

    Returns:
        Per stride, coarse first, the anchors' widths and heights in pixels.
    """
    boxes = np.array([item.box for seed in range(scenes) for item in scene(seed).objects], float)
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    count = PER_STRIDE * len(STRIDES)
    middles = np.quantile(side, (np.arange(count) + 0.5) / count).round()
    anchors = {
        stride: tuple((float(m), float(m)) for m in middles[PER_STRIDE * index : PER_STRIDE * (index + 1)])
        for index, stride in enumerate(STRIDES)
    }
    return dict(reversed(anchors.items()))


def main() -> None:
    """Print the anchors, to be written into ``demo_network.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000, help="training scenes to look at")
    for stride, sizes in quantile_anchors(parser.parse_args().scenes).items():
        print(f"{stride}: {sizes},")


if __name__ == "__main__":
    main()
