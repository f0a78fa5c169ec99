"""How cost grows: with frames, channels, layers, the picture's and the network's size, and threads; one figure."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image

import layerscope as ls
from rounds import put_aside, take_turns, timed
from table import Table
from tiles import PICTURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench import Options
    from layerscope import Network

__all__ = ["measure"]

WIDTHS = (32, 64, 128, 256, 512, 1024)


class Point(NamedTuple):
    """One place on an axis, and the two ways there."""

    x: int
    ours: Callable[[], object]
    forward: Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One axis.

    Attributes:
        what: What grows, with its unit.
        work: What is run.
        points: Where it is measured, smallest first.
        power: How what the run adds to the forward would grow in proportion: 1 with x, 2 with its square, 0 not at
            all; -1: the whole run divided by x.
    """

    what: str
    work: str
    points: Sequence[Point]
    power: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A panel's medians, seconds."""

    panel: Panel
    x: list[int]
    ours: list[float]
    forward: list[float]

    @property
    def proportional(self) -> list[float]:
        """What the run would take if what it adds grew in proportion to that of the last point.

        Where nothing is to grow, and of threads, the first point is what counts.
        """
        if self.panel.power < 0:
            return [self.ours[0] * self.x[0] / x for x in self.x]
        at = -1 if self.panel.power else 0
        added = self.ours[at] - self.forward[at]
        return [
            forward + added * (x / self.x[-1]) ** self.panel.power
            for x, forward in zip(self.x, self.forward, strict=True)
        ]


def measure(options: Options) -> Table:
    """Measure every panel, and draw them."""
    rounds = max(1, options.rounds // 2)
    measured = [_measure(panel, rounds) for panel in _panels()]
    if options.figure is not None:
        _draw(measured, options.figure)
    lines = [
        [f"{one.panel.what}: {x:,}", one.panel.work, *(f"{seconds:.3f}" for seconds in costs)]
        for one in measured
        for x, *costs in zip(one.x, one.ours, one.forward, one.proportional, strict=True)
    ]
    return Table(
        columns=["what grows", "run", "seconds", "reading and forward alone", "in proportion"],
        lines=lines,
        rounds=rounds,
    )


def _measure(panel: Panel, rounds: int) -> Measured:
    ways = {(way, point.x): getattr(point, way) for point in panel.points for way in ("ours", "forward")}
    names = {f"{way} {x}": timed(ways[way, x]) for way, x in ways}
    seconds = take_turns(names, rounds, before=lambda: put_aside("ours"))
    xs = [point.x for point in panel.points]
    ours, forward = ([statistics.median(seconds[f"{way} {x}"]) for x in xs] for way in ("ours", "forward"))
    return Measured(panel=panel, x=xs, ours=ours, forward=forward)


def _panels() -> Iterator[Panel]:
    """Make the panels, each when the one before is done."""
    demo = ls.load("demo", device="cpu")
    yield Panel(
        what="frames", work="`demo` to tiles and sheets", points=[_frames(demo, count) for count in (1, 10, 100)]
    )
    yield Panel(
        what="channels",
        work="YOLOv3 at 1/8 to its full width to tiles and sheets",
        points=[_channels(share) for share in (8, 4, 2, 1)],
    )
    modules = dict(demo.module.named_modules())
    names = [layer.name for layer in demo.layers() if layer.stride is not None and layer.name in modules]
    yield Panel(
        what="layers",
        work="`demo` to sheets",
        points=[_layers(demo, names, count) for count in (1, 3, 10, 30, 100, len(names))],
    )
    yield Panel(
        what="side of the picture, pixels",
        work="`demo` to sheets",
        points=[_picture_side(demo, side) for side in (208, 416, 832, 1664, 3328)],
        power=0,
    )
    yield Panel(
        what="side of the network's input, pixels",
        work="`demo` to sheets",
        points=[_network_side(demo, side) for side in (192, 416, 832, 1664)],
        power=2,
    )
    yolov3 = ls.load("yolov3", device="cpu")
    counts = [count for count in (1, 2, 4, 8, 16) if count < (os.cpu_count() or 1)]
    yield Panel(
        what="threads",
        work="YOLOv3 to tiles and sheets",
        points=[_threads(yolov3, count) for count in (*counts, os.cpu_count() or 1)],
        power=-1,
    )


def _point(x: int, net: Network, pictures: Sequence[Path], size: int | None = None, **arguments: Any) -> Point:
    preparation = {} if size is None else {"size": (size, size)}

    def forward() -> None:
        for picture in pictures:
            net.outputs(net.prepare(picture, **preparation)[0])  # type: ignore[arg-type]

    return Point(x, lambda: ls.run(net, pictures, out="ours", **preparation, **arguments), forward)  # type: ignore[arg-type]


def _frames(net: Network, count: int) -> Point:
    return _point(count, net, [PICTURE] * count)


def _channels(part: int) -> Point:
    widths = tuple(width // part for width in WIDTHS)
    net = ls.load("layerscope.models.yolov3:YOLOv3", arguments={"widths": widths}, size=(416, 416), device="cpu")
    stages = [f"backbone.block{number}" for number in range(1, 6)]
    return _point(sum(widths[1:]), net, [PICTURE], layers=stages)


def _layers(net: Network, names: Sequence[str], count: int) -> Point:
    chosen = [names[round((index + 0.5) * len(names) / count - 0.5)] for index in range(count)]
    return _point(count, net, [PICTURE], layers=chosen, write=["sheets"])


def _picture_side(net: Network, side: int) -> Point:
    path = Path(f"side{side}.jpg")
    Image.open(PICTURE).resize((side, side)).save(path)
    return _point(side, net, [path], write=["sheets"])


def _network_side(net: Network, side: int) -> Point:
    return _point(side, net, [PICTURE], size=side, write=["sheets"])


def _threads(net: Network, count: int) -> Point:
    _, ours, forward = _point(count, net, [PICTURE], threads=count)

    def with_threads(way: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(count)
            way()

        return run

    return Point(count, with_threads(ours), with_threads(forward))


def _draw(measured: Sequence[Measured], path: Path) -> None:
    """Draw small multiples: cost over what grows."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    figure, axes = plt.subplots(2, 3, figsize=(11, 6.6), layout="constrained")
    for axis, one in zip(axes.flat, measured, strict=True):
        axis.plot(one.x, one.proportional, ":", color="0.45", linewidth=1.8, label="in proportion")
        axis.plot(one.x, one.forward, "s--", color="#d55e00", markersize=4, label="reading and forward alone")
        axis.plot(one.x, one.ours, "o-", color="#0072b2", markersize=5, label="layerscope run, all of it")
        axis.set(xlabel=one.panel.what, ylabel="seconds")
        axis.set_title(one.panel.work.replace("`", ""), fontsize=10)
        if one.panel.power < 0:
            axis.set_ylim(bottom=0)
        else:
            axis.set(xscale="log", yscale="log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_minor_locator(NullLocator())
            low, high = (function(one.ours + one.forward + one.proportional) for function in (min, max))
            axis.set_ylim(low / 1.5, high * 1.5)
        axis.xaxis.set_major_locator(FixedLocator(one.x))
        axis.xaxis.set_minor_locator(NullLocator())
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.6g}"))
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
