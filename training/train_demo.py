"""Train the small detector that ships with the package, on made-up scenes, without a GPU.

    python training/train_demo.py --out training/runs

writes into that folder ``demo.safetensors``, ``log.jsonl`` and ``timeline/``, the maps of one scene as they form.
The number of steps depends on ``--minutes`` and not on the clock, so one seed is one result; on two idle cores the
default takes about as long as it says.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from averaging import AveragedWeights
from batches import Phase, batches
from demo_network import DEMO, save_demo
from layerscope.inputs import Frame
from layerscope.training import MapLogger
from loss import Losses, detection_loss
from measure_map import as_network, measure
from scenes import scene

if TYPE_CHECKING:
    from batches import Batch
    from layerscope.models.yolov3 import YOLOv3

PEAK_RATE, LAST_RATE_SHARE, WARM_SHARE = 3e-3, 0.01, 0.04
WEIGHT_DECAY = 0.02
LONGEST_GRADIENT = 10.0
AVERAGE_DECAY = 0.998
FIRST_OBJECTNESS = -5.0
LOGGED_STEPS, LOGGED_SCENE_SEED = 32, 3_000_000
LOG_EVERY = 25
MEASUREMENTS, MEASURED_SCENES, FIRST_MEASURED_SEED = 8, 100, 2_000_000
SEEDS_PER_RUN = 200_000

SMALL_STEPS_A_MINUTE, WHOLE_STEPS_A_MINUTE = 115, 20
"""Steps for each minute asked for: at first on small scenes, of which many can be seen, then on whole ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says.

    Attributes:
        out: Folder to write into.
        minutes: About how long to train.
        threads: For PyTorch.
        seed: Of first weights and scenes.
        compile: Let PyTorch compile the network, which needs a C++ compiler.
    """

    out: Path
    minutes: float
    threads: int
    seed: int
    compile: bool

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Small scenes, then whole ones."""
        return (
            Phase(side_px=256, batch=16, steps=max(2, round(self.minutes * SMALL_STEPS_A_MINUTE))),
            Phase(side_px=416, batch=16, steps=max(1, round(self.minutes * WHOLE_STEPS_A_MINUTE))),
        )


class Log:
    """Lines for a person on the terminal, the same as JSON in a file."""

    def __init__(self, path: Path) -> None:
        self.stream = path.open("w", encoding="utf-8")
        self.began = time.monotonic()

    def __call__(self, **values: Any) -> None:
        """Write one line, with the time since the beginning."""
        values = {"seconds": round(time.monotonic() - self.began, 1), **values}
        print("  ".join(f"{key} {value}" for key, value in values.items()), flush=True)
        self.stream.write(json.dumps(values) + "\n")
        self.stream.flush()


def train(options: Options) -> None:
    """Train from nothing to the file."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    options.out.mkdir(parents=True, exist_ok=True)
    log = Log(options.out / "log.jsonl")
    network = _fresh_network()
    average = AveragedWeights(network, AVERAGE_DECAY)
    run = torch.compile(network, dynamic=False) if options.compile else network
    optimizer = _optimizer(network)
    steps = sum(phase.steps for phase in options.phases)
    logged, measurements = _logged_steps(steps), _measurement_steps(steps)
    maps = MapLogger(
        as_network(network, DEMO),
        frames=Frame(name="scene", pixels=scene(LOGGED_SCENE_SEED).pixels),
        every=lambda step: step in logged,
        out=options.out / "timeline",
        overwrite=True,
    )
    maps.log(0)
    images = 0
    for step, batch in enumerate(batches(options.phases, first_seed=options.seed * SEEDS_PER_RUN), start=1):
        rate = _learning_rate(step, steps)
        losses = _step(network, run, optimizer, batch, rate)
        average.update(network)
        images += len(batch.pictures)
        if step % LOG_EVERY == 0 or step in (1, steps):
            log(step=step, images=images, side_px=batch.pictures.shape[-1], rate=round(rate, 6), **_numbers(losses))
        maps.step(step, loss=float(losses.total.detach()))
        if step in measurements:
            size = save_demo(options.out / "demo.safetensors", average.module.state_dict(), DEMO)
            measured = measure(as_network(average.module, DEMO), MEASURED_SCENES, first_seed=FIRST_MEASURED_SEED)
            by_size = {name: round(value, 4) for name, value in measured.by_size.items()}
            log(step=step, map50=round(measured.map50, 4), map50_95=round(measured.map50_95, 4), **by_size, bytes=size)
    log(step=steps, finished=True, images=images, minutes_asked=options.minutes)


def _fresh_network() -> YOLOv3:
    network = DEMO.build()
    network.to(memory_format=torch.channels_last)
    with torch.no_grad():
        for head in network.heads:  # nearly every prediction has to say no: let it begin with that
            bias = network.get_parameter(f"{head.layer}.bias")
            bias.view(len(head.anchors), 5 + head.classes)[:, 4] = FIRST_OBJECTNESS
    return network


def _optimizer(network: YOLOv3) -> torch.optim.AdamW:
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.99), fused=True)


def _learning_rate(step: int, steps: int) -> float:
    """Rise in a straight line, then fall along half a cosine."""
    warm = max(1, round(steps * WARM_SHARE))
    if step <= warm:
        return PEAK_RATE * step / warm
    done = (step - warm) / max(1, steps - warm)
    return PEAK_RATE * (LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * (1 + math.cos(math.pi * done)) / 2)


def _step(network: YOLOv3, run: Any, optimizer: torch.optim.AdamW, batch: Batch, rate: float) -> Losses:
    """Learn from one batch; ``run`` is the network or its compiled twin."""
    network.train()
    for group in optimizer.param_groups:
        group["lr"] = rate
    pictures = batch.pictures.float().div_(255).contiguous(memory_format=torch.channels_last)
    losses = detection_loss(run(pictures), network.heads, batch)
    optimizer.zero_grad()
    losses.total.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
    optimizer.step()
    return losses


def _numbers(losses: Losses) -> dict[str, float]:
    parts = {"box": losses.box, "objectness": losses.objectness, "label": losses.label, "loss": losses.total}
    return {name: round(float(part.detach()), 4) for name, part in parts.items()}


def _logged_steps(steps: int) -> set[int]:
    """Spread them evenly over the orders of magnitude: the first steps change most."""
    return {round(float(step)) for step in np.geomspace(1, steps, LOGGED_STEPS)}


def _measurement_steps(steps: int) -> set[int]:
    return {round(steps * (index + 1) / MEASUREMENTS) for index in range(MEASUREMENTS)}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "runs", help="folder to write into")
    parser.add_argument("--minutes", type=float, default=40, help="about how long to train (default 40)")
    parser.add_argument("--threads", type=int, default=2, help="threads for PyTorch (default 2)")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and scenes (default 0)")
    parser.add_argument("--compile", action="store_true", help="compile the network: a third faster, needs g++")
    train(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
