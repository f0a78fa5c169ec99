"""The recipe, whole: the same files, pixel for pixel, from the same state dict."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import layerscope as ls
import recipe_oracle
from layerscope.cli import app

CHANNELS = {f"backbone_block{n}": count for n, count in enumerate((64, 128, 256, 512, 1024), start=1)}


@pytest.fixture(scope="module")
def recipe_run(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """Run the recipe's own procedure once; return its folder, with a checkpoint in either naming beside it."""
    folder = tmp_path_factory.mktemp("recipe")
    net = recipe_oracle.lively(recipe_oracle.RecipeYOLO(500))
    torch.save(net.state_dict(), folder / "layers.pkl")
    renamed = {key.replace("backbone.layer", "backbone.block"): value for key, value in net.state_dict().items()}
    torch.save(renamed, folder / "blocks.pkl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outputs = recipe_oracle.run(net, shared_data / "images/dog.jpg")
    assert outputs[0].requires_grad, "the recipe runs with gradients on"
    return folder


@pytest.mark.parametrize("checkpoint", ["layers.pkl", "blocks.pkl"])
def test_preset_classic_gives_the_recipes_files_pixel_for_pixel(
    recipe_run: Path, shared_data: Path, checkpoint: str
) -> None:
    arguments = ["run", "yolov3", "-w", str(recipe_run / checkpoint), "--preset", "classic"]
    result = CliRunner().invoke(app, [*arguments, str(shared_data / "images/dog.jpg")])
    assert result.exit_code == 0, result.output
    assert "(1, 1515, 13, 13) (1, 1515, 26, 26) (1, 1515, 52, 52)" in result.output
    ours, theirs = Path("featuremap"), recipe_run / "featuremap"
    assert {path.name for path in ours.iterdir()} == {*CHANNELS, "manifest.json"}
    spread = set()
    for name, channels in CHANNELS.items():
        assert {path.name for path in (ours / name).iterdir()} == {f"out{c}.jpg" for c in range(channels)}
        for channel in range(channels):
            mine = cv2.imread(str(ours / name / f"out{channel}.jpg"), cv2.IMREAD_UNCHANGED)
            other = cv2.imread(str(theirs / name / f"out{channel}.jpg"), cv2.IMREAD_UNCHANGED)
            assert mine.shape == other.shape
            assert np.array_equal(mine, other), (name, channel)
            spread |= {int(other.min()), int(other.max())}
    assert {0, 255} <= spread, "the test's weights must show clipping on both sides"


def test_to_image_and_to_images_are_the_recipes_function() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(2, 5, 26, 26, requires_grad=True)
    halves = (torch.arange(26.0) + 0.5) / 255  # half-way between two levels
    tensor = torch.cat([tensor, halves.expand(2, 1, 26, 26)], 1)
    for channel in range(6):
        recipe_oracle.save(tensor, channel, "theirs")
        assert ls.to_image(tensor, channel, "ours") == Path(f"featuremap/ours/out{channel}.jpg")
    assert len(ls.to_images(tensor, "all")) == 6
    for channel in range(6):
        expected = cv2.imread(f"featuremap/theirs/out{channel}.jpg", cv2.IMREAD_UNCHANGED)
        for name in ("ours", "all"):
            path = f"featuremap/{name}/out{channel}.jpg"
            assert np.array_equal(cv2.imread(path, cv2.IMREAD_UNCHANGED), expected), path


def test_to_image_refuses_what_it_cannot_write() -> None:
    with pytest.raises(ls.LayerscopeError, match=r"expected a tensor \(N, C, H, W\)"):
        ls.to_image(torch.zeros(3, 4, 4), 0, "layer")
    with pytest.raises(ls.LayerscopeError, match="channels 0 to 2"):
        ls.to_image(torch.zeros(1, 3, 4, 4), 3, "layer")
    Path("featuremap").write_text("in the way")
    with pytest.raises(ls.LayerscopeError, match="cannot be written"):
        ls.to_images(torch.zeros(1, 3, 4, 4), "layer")
