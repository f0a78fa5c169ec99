"""All 1984 tiles of YOLOv3's five stages, the forward pass included, beside a plain forward and plain writing.

The plain way is the recipe's own network in PyTorch, without hooks, and the bytes of our own tiles, written in a loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

import layerscope as ls
import recipe_script
from layerscope.inputs.find import SCENES
from rounds import put_aside, ratios, take_turns, timed
from table import Goal, Table, compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench import Options

__all__ = ["FILES", "PICTURE", "measure"]

PICTURE = min(SCENES.iterdir())
FILES = 1984
PLAIN = "a plain forward, then writing the bytes of our tiles"
RECIPE = "the recipe's own procedure (OpenCV)"
TILES = "`--write tiles`"
STOPPED = "`--write tiles --no-outputs`: stops after stage 5"


def measure(options: Options) -> Table:
    """Let all ways take turns; before each, what they wrote is out of the way."""
    seconds = take_turns({name: timed(way) for name, way in _ways().items()}, options.rounds, before=_clear)
    against = "an eager forward, then writing the same bytes to as many files"
    tiles, stopped = (ratios(seconds[way], seconds[PLAIN]) for way in (TILES, STOPPED))
    return Table(
        columns=["all 1984 tiles, forward included", "seconds", "of forward and writing", "of the recipe"],
        lines=compare(seconds, [PLAIN, RECIPE]),
        rounds=options.rounds,
        goals=[
            Goal(work="all 1984 tiles of YOLOv3, forward included", against=against, measured=tiles, bound=1.0),
            Goal(work="the same, stopping after stage 5", against=against, measured=stopped, bound=0.85),
        ],
    )


def _ways() -> dict[str, Callable[[], object]]:
    state = torch.load(recipe_script.weights())
    recipe, eager = recipe_script.RecipeYOLO(80), recipe_script.RecipeYOLO(80, saving=False)
    for network in (recipe, eager):
        network.load_state_dict(state)
        network.eval()
    net = ls.load("yolov3", weights=recipe_script.weights(), device="cpu")
    ls.run(net, PICTURE, out="ours", write=["tiles"])
    written = [path.read_bytes() for path in sorted(Path("ours").rglob("*.jpg"))]
    if len(written) != FILES:
        raise RuntimeError(f"expected {FILES} tiles, got {len(written)}")

    def plain() -> None:
        x, _ = net.prepare(PICTURE)
        with torch.no_grad():
            eager(x)
        for index, content in enumerate(written):
            path = Path("plain", f"part{index // 500}", f"{index}.jpg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def ours(**arguments: object) -> Callable[[], object]:
        return lambda: ls.run(net, PICTURE, out="ours", **arguments)  # type: ignore[arg-type]

    return {
        PLAIN: plain,
        RECIPE: lambda: recipe_script.run(recipe, PICTURE),
        TILES: ours(write=["tiles"]),
        STOPPED: ours(write=["tiles"], outputs=False),
        "`--preset classic`, the recipe's very files": ours(preset="classic"),
        "`--write sheets`, all channels without loss": ours(write=["sheets"]),
        "the default, tiles and sheets": ours(),
    }


def _clear() -> None:
    put_aside("featuremap", "plain", "ours")
