"""All 1984 tiles of YOLOv3's five stages, the forward pass included, beside the recipe's own procedure.

Every way takes its turn in each round, so that a machine that slows down slows all of them; what counts is
the ratio within a round. Run it with ``make bench``; it prints the table that README shows.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import layerscope as ls
from layerscope.inputs.find import SCENES
from rounds import machine, ratio, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import recipe_oracle  # type: ignore[import-not-found]  # the tests' own copy of the recipe

PLAIN = "the forward pass, then writing the bytes of our tiles"
RECIPE = "the recipe's own procedure (OpenCV)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often every way takes its turn (default: 7)")
    parser.add_argument("--picture", type=Path, help="a picture to use instead of one that ships inside")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        picture = arguments.picture.resolve() if arguments.picture else sorted(SCENES.iterdir())[0]
        seconds = take_turns(_ways(picture), arguments.rounds, before=_clear)
    print(f"{arguments.rounds} rounds on {machine()}\n")
    print("| all 1984 tiles, forward included | seconds | of the recipe | of forward and writing |")
    print("|---|---|---|---|")
    for name, times in seconds.items():
        ratios = " | ".join(ratio(times, seconds[other]) for other in (RECIPE, PLAIN))
        print(f"| {name} | {statistics.median(times):.2f} | {ratios} |")


def _ways(picture: Path) -> dict[str, Callable[[], object]]:
    recipe = recipe_oracle.lively(recipe_oracle.RecipeYOLO(80))
    torch.save(recipe.state_dict(), "recipe.pth")
    net = ls.load("yolov3", weights="recipe.pth", device="cpu")
    written = [
        path.read_bytes() for path in sorted(ls.run(net, picture, out="bytes", write=["tiles"]).folder.rglob("*.jpg"))
    ]
    assert len(written) == 1984

    def plain() -> None:
        x, _ = net.prepare(picture)
        net.outputs(x)
        for index, content in enumerate(written):
            path = Path("plain", f"part{index // 500}", f"{index}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def ours(**options: object) -> Callable[[], object]:
        return lambda: ls.run(net, picture, out="ours", **options)  # type: ignore[arg-type]

    return {
        RECIPE: lambda: recipe_oracle.run(recipe, picture),
        PLAIN: plain,
        "`--preset classic`, the recipe's very files": ours(preset="classic"),
        "`--write tiles`": ours(write=["tiles"]),
        "`--write sheets`, all channels without loss": ours(write=["sheets"]),
        "the default, tiles and sheets": ours(),
    }


def _clear() -> None:
    for folder in ("featuremap", "plain", "ours"):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore", ls.LayerscopeWarning)
    main()
