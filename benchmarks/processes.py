"""Commands in processes of their own: the recipe's script, help, and how memory grows with the number of frames."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

import recipe_script
from alone import Cost, alone
from rounds import put_aside, ratios, take_turns
from table import Goal, Table, compare, spread
from tiles import PICTURE
from video import picture_at, write_video

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench import Options

__all__ = ["LAYERSCOPE", "cleared", "memory", "recipe", "start"]

LAYERSCOPE = str(Path(sys.executable).with_name("layerscope"))
FEW, MANY = 2, 200


def cleared(*command: object) -> Callable[[], Cost]:
    """Make a way of a command, which finds nothing of what turns before it have written."""

    def run() -> Cost:
        put_aside("featuremap", "ours")
        return alone([str(word) for word in command])

    return run


def recipe(options: Options) -> Table:
    """The 1984 tiles by two commands: reading 248 MB of weights and importing PyTorch included."""
    weights, script = recipe_script.weights(), Path(recipe_script.__file__)
    ours = (LAYERSCOPE, "run", "yolov3", "-w", weights, PICTURE, "--out", "ours", "--quiet")
    theirs = "the recipe's script"
    tiles = "`layerscope run yolov3 -w ... --write tiles`"
    costs = take_turns(
        {
            theirs: cleared(sys.executable, script, weights, PICTURE),
            tiles: cleared(*ours, "--write", "tiles"),
            "the same, `--no-outputs`": cleared(*ours, "--write", "tiles", "--no-outputs"),
            "`--preset classic`, the recipe's very files": cleared(*ours, "--preset", "classic"),
            "the default, tiles and sheets": cleared(*ours),
            "`python -c 'import torch'`": cleared(sys.executable, "-c", "import torch"),
        },
        options.rounds,
    )
    seconds, peaks = _apart(costs)
    lines = [
        [*one, *other[1:]]
        for one, other in zip(compare(seconds, [theirs]), compare(peaks, [theirs], digits=0), strict=True)
    ]
    work = "1984 tiles as a whole process, 248 MB of weights read"
    return Table(
        columns=["whole process, 1984 tiles", "seconds", "of the recipe's", "peak memory, MB", "of the recipe's"],
        lines=lines,
        rounds=options.rounds,
        goals=[
            Goal(
                work=f"{work}: {what}",
                against="the recipe's own script",
                measured=ratios(of[tiles], of[theirs]),
                bound=0.7,
            )
            for what, of in (("seconds", seconds), ("peak memory", peaks))
        ],
    )


def start(options: Options) -> Table:
    """What it costs to be asked for help, and what only importing costs."""
    nothing, answer = "`python -c pass`", "`layerscope --help`"
    costs = take_turns(
        {
            nothing: cleared(sys.executable, "-c", "pass"),
            "`python -c 'import layerscope'`": cleared(sys.executable, "-c", "import layerscope"),
            answer: cleared(LAYERSCOPE, "--help"),
            "`python -c 'import torch'`": cleared(sys.executable, "-c", "import torch"),
        },
        options.rounds,
    )
    seconds, _ = _apart(costs)
    more = {
        name: [one - other for one, other in zip(own, seconds[nothing], strict=True)] for name, own in seconds.items()
    }
    return Table(
        columns=["command", "seconds", "more than `python -c pass`"],
        lines=[[name, f"{statistics.median(own):.2f}", spread(more[name], sign="+")] for name, own in seconds.items()],
        rounds=options.rounds,
        goals=[Goal(work=answer, against=nothing, measured=more[answer], bound=0.25, kind="seconds more")],
    )


def memory(options: Options) -> Table:
    """Peak memory of many frames beside few: of a video and of a folder, by sheets alone and by the default."""
    video, folder = Path("memory.mp4"), Path("memory")
    write_video(video, MANY)
    for number in range(MANY):
        sub = folder / ("few" if number < FEW else "more")
        sub.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture_at(number)).save(sub / f"{number:03}.jpg")
    kinds: dict[str, tuple[list[object], list[object]]] = {
        "a video to sheets": ([video, "--write", "sheets"], [video, "--write", "sheets", "--frames", FEW]),
        "a folder to tiles and sheets, the default": ([folder], [folder / "few"]),
    }
    rounds = options.few_rounds
    lines, goals = [], []
    for kind, (many, few) in kinds.items():
        ways = {
            str(count): cleared(LAYERSCOPE, "run", "demo", *inputs, "--out", "ours", "--quiet")
            for count, inputs in ((MANY, many), (FEW, few))
        }
        _, peaks = _apart(take_turns(ways, rounds, warm_up=False))
        grown = ratios(peaks[str(MANY)], peaks[str(FEW)])
        lines.append([kind, *(f"{statistics.median(peaks[str(count)]):.0f}" for count in (FEW, MANY)), spread(grown)])
        goals.append(
            Goal(
                work=f"{MANY} frames: peak memory, {kind}",
                against=f"{FEW} frames",
                measured=grown,
                bound=1.1,
            )
        )
    return Table(
        columns=["frames through `demo`", f"peak of {FEW}, MB", f"peak of {MANY}, MB", "ratio"],
        lines=lines,
        rounds=rounds,
        goals=goals,
    )


def _apart(costs: dict[str, list[Cost]]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Split costs into seconds and peaks."""
    seconds = {name: [cost.seconds for cost in own] for name, own in costs.items()}
    return seconds, {name: [cost.peak_mb for cost in own] for name, own in costs.items()}
