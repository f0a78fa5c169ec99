"""What sheets cost, layer by layer: drawing, encoding, and how that grows with threads; Pillow's encoder beside it.

Milliseconds are the thread's own, so that other work on the machine hardly counts; frames a second are by the clock.

    python benchmarks/sheets.py
    python benchmarks/sheets.py --source yolov3 --weights yolov3.weights
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from PIL import Image

import layerscope as ls
from layerscope.hooks.feature_map import draw_feature_sheet
from layerscope.inputs.find import SCENES
from layerscope.sinks.png import encode_png

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from layerscope import FeatureMap
    from layerscope.models.axes import Axes
    from layerscope.render import Scaled

    Layer = tuple[Scaled, str, Axes]

T = TypeVar("T")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="demo", help="the network whose stages are drawn (default: demo)")
    parser.add_argument("--weights", help="its weights")
    parser.add_argument("--frames", type=int, default=60, help="how many frames are drawn (default: 60)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    net = ls.load(arguments.source, weights=arguments.weights, device="cpu")
    scenes = [ls.capture(net, scene, layers="stages") for scene in sorted(SCENES.iterdir())]
    frames = [
        [_taken(of, 1 + number / 1000) for of in scenes[number % len(scenes)].values()]
        for number in range(arguments.frames)
    ]
    print("| layer | sheet | draw, ms | encode, ms | Pillow's encoder, ms | kB | Pillow's kB |")
    print("|---|---|---|---|---|---|---|")
    for layers in zip(*frames, strict=True):
        print(_line(layers))
    for threads in (1, 2):
        print(f"\n{threads} at once: {_frames_a_second(frames, threads):.1f} frames a second")


def _taken(feature_map: FeatureMap, factor: float) -> Layer:
    """Scale a map whose values differ from frame to frame, as the numbers in its sheet's header then do."""
    scaled = replace(feature_map, values=feature_map.values * factor).scaled()
    return scaled, feature_map.layer, feature_map.axes


def _line(layers: Sequence[Layer]) -> str:
    draw_ms: list[float] = []
    encode_ms: list[float] = []
    pillow_ms: list[float] = []
    kilobytes, pillow_kilobytes = [], []
    for layer in layers:
        pixels = _timed(partial(draw_feature_sheet, *layer), draw_ms)
        kilobytes.append(len(_timed(partial(encode_png, pixels), encode_ms)) / 1000)
    for layer in layers:
        pixels = draw_feature_sheet(*layer)
        pillow_kilobytes.append(len(_timed(partial(_by_pillow, pixels), pillow_ms)) / 1000)
    height, width = pixels.shape[:2]
    times = [f"{statistics.median(times):.2f}" for times in (draw_ms, encode_ms, pillow_ms)]
    sizes = [f"{statistics.mean(sizes):.0f}" for sizes in (kilobytes, pillow_kilobytes)]
    return f"| {' | '.join([layers[0][1], f'{height} x {width}', *times, *sizes])} |"


def _timed(work: Callable[[], T], milliseconds: list[float]) -> T:
    begin = time.thread_time()
    result = work()
    milliseconds.append((time.thread_time() - begin) * 1000)
    return result


def _by_pillow(pixels: NDArray[np.uint8]) -> bytes:
    """Encode with Pillow at its fastest."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _frames_a_second(frames: Sequence[Sequence[Layer]], threads: int) -> float:
    def write(frame: Sequence[Layer]) -> None:
        for layer in frame:
            encode_png(draw_feature_sheet(*layer))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, frames[:threads]))
        begin = time.perf_counter()
        list(pool.map(write, frames))
        return len(frames) / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
