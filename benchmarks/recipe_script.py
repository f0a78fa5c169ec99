"""The recipe as a script of its own: network, weights, picture, 1984 files below the current folder.

``python recipe_script.py recipe.pth dog.jpg``
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from recipe_oracle import RecipeYOLO, lively, run  # the tests' own copy of the recipe

WEIGHTS = Path("recipe.pth")

__all__ = ["RecipeYOLO", "lively", "run", "weights"]


def weights() -> Path:
    """Return the file of weights that all ways load, 248 MB; it is made in the current folder where it is not there."""
    if not WEIGHTS.exists():
        torch.save(lively(RecipeYOLO(80)).state_dict(), WEIGHTS)
    return WEIGHTS.resolve()


def main(weights_file: str, picture: str) -> None:
    """Do what the recipe does."""
    net = RecipeYOLO(80)
    net.load_state_dict(torch.load(weights_file, map_location=torch.device("cpu")))
    run(net.eval(), Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
