"""Write the scenes that ship with the package.

    python training/render_samples.py

They are of those that the demonstration detector was never trained on.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from scenes import FIRST_UNSEEN_SEED, scene

FOLDER = Path(__file__).resolve().parents[1] / "src" / "layerscope" / "assets" / "scenes"
NUMBERS = (0, 7, 10)


def main() -> None:
    """Write them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for number in NUMBERS:
        pixels = scene(FIRST_UNSEEN_SEED + number).pixels
        path = FOLDER / f"scene{number}.jpg"
        Image.fromarray(pixels).save(path, quality=92, subsampling=0, optimize=True)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
