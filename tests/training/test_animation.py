"""Moving pictures and strips of a timeline, read back frame by frame."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import layerscope as ls
from layerscope.cli import app
from layerscope.errors import OptionError, OutputError
from layerscope.sinks.moving import write_moving
from layerscope.training import MapLogger, Timeline, open_timeline
from layerscope.training.animation import animate, draw_strip

PROBE = torch.linspace(-1, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)


@pytest.fixture
def timeline() -> Timeline:
    """Five steps of a convolution whose weights grow, so that step n's values are n times the first's."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU())
    first = net[0].weight.detach().clone()
    logger = MapLogger(net, frames=PROBE, layers="all", every=1, tensor_type="f32")
    for step in range(5):
        net[0].weight.data = first * (step + 1)
        logger.step(loss=1 / (step + 1))
    return open_timeline("timeline")


def frames_of(path: Path) -> list[np.ndarray]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as video:
            return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    with Image.open(path) as picture:
        found = []
        for index in range(picture.n_frames):
            picture.seek(index)
            found.append(np.asarray(picture.convert("RGB")))
        return found


def test_each_step_is_one_frame_and_growth_is_seen_as_growth(timeline: Timeline) -> None:
    written = animate(timeline, "out", layers=["1"])
    assert [path.name for path in written["1"]] == ["1.mp4", "1.webp"]
    for path in written["1"]:
        frames = frames_of(path)
        assert len(frames) == 5
        assert len({frame.shape for frame in frames}) == 1
        # viridis goes from dark to bright, and only the maps change.
        brightness = [frame.astype(float).mean() for frame in frames]
        assert brightness == sorted(brightness)
        assert brightness[-1] > brightness[0] + 2


def test_with_each_step_by_itself_nothing_seems_to_grow(timeline: Timeline) -> None:
    (path,) = animate(timeline, "out", layers=["1"], formats=["webp"], each_step=True)["1"]
    brightness = [frame.astype(float).mean() for frame in frames_of(path)]
    assert np.ptp(brightness) < 1


def test_a_strip_shows_the_same_channel_at_every_step(timeline: Timeline) -> None:
    strip = draw_strip(timeline, "1", 2, scale="unit", colormap="grey")
    maps = [np.clip(np.rint(values[2] * 255), 0, 255) for _, values in timeline.maps("1")]
    picture = np.asarray(strip.convert("L")).astype(int)
    for expected in maps:
        factor = next(scale for scale in range(1, 30) if _contains(picture, expected.repeat(scale, 0).repeat(scale, 1)))
        assert factor >= 1


def _contains(picture: np.ndarray, part: np.ndarray) -> bool:
    height, width = part.shape
    if height > picture.shape[0] or width > picture.shape[1]:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(picture, (height, width))
    corners = np.argwhere((windows[..., 0, 0] == part[0, 0]) & (windows[..., -1, -1] == part[-1, -1]))
    return any(np.array_equal(windows[y, x], part) for y, x in corners)


def test_the_command_writes_them_and_says_where(timeline: Timeline) -> None:
    result = CliRunner().invoke(app, ["timeline", "timeline", "-l", "0", "-c", "1", "-c", "5", "--json"])
    assert result.exit_code == 0, result.output
    paths = json.loads(result.stdout)["0"]
    assert [Path(path).name for path in paths] == ["0.mp4", "0.webp", "0-1.png", "0-5.png"]
    assert all(Path(path).is_file() for path in paths)
    assert not [path for path in Path("timeline/animations").iterdir() if path.name.startswith(".")]
    for arguments, words in (
        (["-l", "9"], "has no layer '9'"),
        (["-c", "6"], "channels 0 to 5, not 6"),
        (["--frame", "dog"], "no frame 'dog'"),
        (["--format", "gif"], "ends in .mp4 or .webp"),
        (["--scale", "percentile"], "say each_step"),
    ):
        refused = CliRunner().invoke(app, ["timeline", "timeline", *arguments])
        assert refused.exit_code == 1
        assert words in refused.output
        assert len(refused.output.strip().splitlines()) == 1
    assert "holds no timeline.json" in CliRunner().invoke(app, ["timeline", "nowhere"]).output


@pytest.mark.parametrize("size_hw", [(33, 47), (2, 2), (64, 96)])
@pytest.mark.parametrize("suffix", ["mp4", "webp"])
def test_odd_sizes_and_pictures_of_another_size_are_written(suffix: str, size_hw: tuple[int, int]) -> None:
    pictures = [np.full((*size_hw, 3), level, np.uint8) for level in (20, 120, 220)]
    pictures.append(np.full((size_hw[0] - 1, size_hw[1] + 3, 3), 60, np.uint8))
    path = write_moving(Path(f"a.{suffix}"), iter(pictures), fps=5)
    frames = frames_of(path)
    assert len(frames) == 4
    for frame, level in zip(frames, (20, 120, 220, 60), strict=True):
        assert abs(int(frame[0, 0, 0]) - level) <= 4


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(OutputError, match="no pictures"):
        write_moving(Path("a.webp"), [], fps=5)
    with pytest.raises(OptionError, match="fps: expected"):
        write_moving(Path("a.webp"), [np.zeros((2, 2, 3), np.uint8)], fps=0)
    with pytest.raises(OutputError, match="cannot be written"):
        write_moving(Path("missing/a.webp"), [np.zeros((2, 2, 3), np.uint8)], fps=5)
    with pytest.raises(ls.LayerscopeError):
        open_timeline("a.webp")
