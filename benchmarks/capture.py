"""Capture alone, beside the bare forward pass: YOLOv3 at 416 x 416, one picture, and TorchLens doing the same.

Run it with ``make bench``; it prints the table that README shows.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from typing import TYPE_CHECKING

import torch

import layerscope as ls
from layerscope.hooks import select
from layerscope.hooks.tape import Tape, catch
from layerscope.models.operations import watch_operations
from rounds import machine, ratio, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

BARE = "the bare forward pass"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often every way takes its turn (default: 7)")
    arguments = parser.parse_args()
    seconds = take_turns(_ways(), arguments.rounds)
    print(f"{arguments.rounds} rounds on {machine()}\n")
    print("| captured of YOLOv3 | seconds | of the bare forward |")
    print("|---|---|---|")
    for name, times in seconds.items():
        print(f"| {name} | {statistics.median(times):.2f} | {ratio(times, seconds[BARE])} |")


def _ways() -> dict[str, Callable[[], object]]:
    net = ls.load("yolov3", device="cpu")
    module = net.module
    x, _ = net.prepare(torch.randint(0, 256, (416, 416, 3), dtype=torch.uint8).numpy())

    def bare() -> None:
        with torch.no_grad():
            module(x)

    def kept(layers: str) -> Callable[[], object]:
        plan = select(layers, module, stages=net.stages)

        def run() -> Tape:
            tape = Tape(plan, module)
            with torch.no_grad(), catch(module, plan, tape.take):
                module(x)
            return tape

        return run

    def watched() -> None:
        with torch.no_grad(), watch_operations(module, lambda *_: None):
            module(x)

    ways: dict[str, Callable[[], object]] = {
        BARE: bare,
        "five stages": kept("stages"),
        "all 75 convolutions": kept("convs"),
        "every operation, watched but not kept": watched,
        "every module and operation": kept("all"),
    }
    try:
        import torchlens
    except ImportError:
        print("TorchLens is not installed: left out")
    else:
        ways["TorchLens, every operation"] = lambda: torchlens.trace(module, x)
    return ways


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
