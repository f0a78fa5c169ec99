"""A thousand frames of a video through the demo to files, beside decoding, preparing and the bare batched forward.

Run as a script it is the bare way: ``python flood.py FRAMES VIDEO...`` takes so many frames of each video.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rounds import ratios, take_turns
from table import Goal, Table, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alone import Cost
    from bench import Options

__all__ = ["measure"]

WANTED = ("sheets", "zarr")
"""Kinds of files that the frames become, of those that there are."""

FEW = 20
BATCH = 8


def measure(options: Options) -> Table:
    """Let the whole run, the bare way and the run of few frames take turns, each a process of its own."""
    from layerscope.sinks.drawing import SINKS
    from processes import LAYERSCOPE, cleared
    from video import count_frames, write_video

    if options.video is None:
        video, repeats = Path("flood.mp4"), 1
        write_video(video, options.frames)
    else:
        video = options.video
        repeats = -(-options.frames // count_frames(video))
    each = options.frames // repeats
    frames = each * repeats
    kinds = ",".join(kind for kind in WANTED if kind in SINKS)

    def ours(count: int, videos: list[Path]) -> Callable[[], Cost]:
        flags = ("--write", kinds, "--frames", count, "--out", "ours", "--quiet")
        return cleared(LAYERSCOPE, "run", "demo", *videos, *flags)

    bare = f"decoding, preparing, the forward in batches of {BATCH}"
    run, few = f"`layerscope run demo clip.mp4 --write {kinds}`", f"{FEW} frames of it"
    costs = take_turns(
        {
            bare: cleared(sys.executable, __file__, each, *[video] * repeats),
            run: ours(each, [video] * repeats),
            few: ours(FEW, [video]),
        },
        options.few_rounds,
        warm_up=False,
    )
    rates = {name: [frames / cost.seconds for cost in own] for name, own in costs.items() if name != few}
    peaks = {name: [cost.peak_mb for cost in own] for name, own in costs.items()}
    lines = [
        [
            name,
            f"{statistics.median(rates[name]):.1f}" if name in rates else "",
            spread(ratios(rates[name], rates[bare])) if name in rates else "",
            f"{statistics.median(peaks[name]):.0f}",
            spread(ratios(peaks[name], peaks[few])),
        ]
        for name in costs
    ]
    work = f"{frames} frames of a video to {kinds.replace(',', ' and ')}"
    return Table(
        columns=[
            f"{frames} frames of a video, `demo`",
            "frames a second",
            "of the bare forward's",
            "peak memory, MB",
            f"of that of {FEW} frames",
        ],
        lines=lines,
        rounds=options.few_rounds,
        goals=[
            Goal(
                work=f"{work}: peak memory",
                against=f"{FEW} frames",
                measured=ratios(peaks[run], peaks[few]),
                bound=1.1,
            ),
            Goal(
                work=f"{work}: frames a second",
                against="decoding, preparing and a bare batched forward",
                measured=ratios(rates[run], rates[bare]),
                bound=0.75,
                kind="at least",
            ),
        ],
    )


def _bare(count: int, videos: list[str]) -> None:
    import torch

    import layerscope as ls

    net = ls.load("demo", device="cpu")
    with torch.no_grad():
        pictures = _decoded(count, videos)
        while batch := list(itertools.islice(pictures, BATCH)):
            net.module(torch.cat([net.prepare(pixels)[0] for pixels in batch]))


def _decoded(count: int, videos: list[str]) -> Iterator[Any]:
    import av

    for video in videos:
        with av.open(video) as container:
            container.streams.video[0].thread_type = "AUTO"
            for frame in itertools.islice(container.decode(video=0), count):
                yield frame.to_ndarray(format="rgb24")


if __name__ == "__main__":
    _bare(int(sys.argv[1]), sys.argv[2:])
