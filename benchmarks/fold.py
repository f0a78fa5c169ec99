"""What folding and memory laid out channels-last gain: whole forward passes, beside those of the network as it is.

Run it on a machine that does nothing else: ``python benchmarks/fold.py``, or with the names of networks.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import TYPE_CHECKING

import torch
from torch import nn

import layerscope as ls
from layerscope.hooks import select
from layerscope.models.fold import quicker
from rounds import ratios, take_turns, timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from layerscope.models.network import Network

NETWORKS = (
    "demo",
    "yolov3",
    "torchvision:resnet50",
    "torchvision:mobilenet_v3_large",
    "torchvision:convnext_tiny",
    "torchvision:vit_b_16",
    "torchvision:densenet121",
    "torchvision:googlenet",
    "torchvision:deeplabv3_mobilenet_v3_large",
    "smp:Unet",
    "ultralytics:yolov8n.yaml",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="as layerscope.load takes them")
    parser.add_argument("--rounds", type=int, default=7, help="how often every way takes its turn (default: 7)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="how many pictures (default: 1 and 8)")
    parser.add_argument("--threads", type=int, help="how many threads PyTorch uses (default: its own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print("| network | folded | more memory | made in | batch | as it is | folded | of it |")
    print("|---|---|---|---|---|---|---|---|")
    for source in arguments.networks:
        net = ls.load(source, device="cpu")
        for batch in arguments.batch:
            print(_row(net, source, batch, arguments.rounds), flush=True)


def _row(net: Network, source: str, batch: int, rounds: int) -> str:
    plan = select("stages", net.module, stages=net.stages)
    quicker(net, plan, net.preparation, batch=batch)  # what comes first pays for others
    begin = time.perf_counter()
    module = quicker(net, plan, net.preparation, batch=batch)
    made_s = time.perf_counter() - begin
    x = torch.rand(batch, 3, *net.preparation.size_hw)
    with torch.no_grad():
        seconds = take_turns(
            {"as it is": timed(_ran(net, net.module, x)), "folded": timed(_ran(net, module, x))}, rounds
        )
    plain, folded = (statistics.median(times) for times in seconds.values())
    shared = {parameter.data_ptr() for parameter in net.module.parameters()}
    own = sum(one.numel() * one.element_size() for one in module.parameters() if one.data_ptr() not in shared)
    ratio = sorted(ratios(seconds["folded"], seconds["as it is"]))
    return (
        f"| {source} | {_identities(module) - _identities(net.module)} | {own / 1e6:.0f} MB | {made_s:.2f} s | {batch} "
        f"| {plain * 1000:.0f} ms | {folded * 1000:.0f} ms "
        f"| {statistics.median(ratio):.2f} ({ratio[0]:.2f} to {ratio[-1]:.2f}) |"
    )


def _ran(net: Network, module: nn.Module, x: torch.Tensor) -> Callable[[], object]:
    return lambda: net.call(module, x)


def _identities(module: nn.Module) -> int:
    return sum(type(part) is nn.Identity for part in module.modules())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
