"""Nothing is lost: a run that was stopped, however, goes on and ends as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import layerscope as ls
from kill import digest
from layerscope import job
from layerscope.errors import InputError, OutputError, OutputExistsError
from layerscope.pipeline import RunStopped
from layerscope.sinks.journal import FOLDER

if TYPE_CHECKING:
    from layerscope.job import Progress

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def net() -> ls.Network:
    return ls.load("demo", device="cpu", size=64)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(7):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(folder / f"p{index}.png")
    return folder


class Stopping:
    """A progress that stops the run with an error of the caller's choice after some frames."""

    def __init__(self, after: int, error: BaseException) -> None:
        self.after, self.error = after, error

    def __call__(self, progress: Progress) -> None:
        if progress.frames >= self.after:
            raise self.error


def stop(net: ls.Network, pictures: Path, after: int, **options: object) -> None:
    with pytest.raises(ZeroDivisionError):
        ls.run(net, pictures, out="out", progress=Stopping(after, ZeroDivisionError()), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("after", [1, 4])
def test_a_stopped_run_goes_on_to_the_very_same_folder(net: ls.Network, pictures: Path, after: int, batch: int) -> None:
    options = {"write": ["tiles", "sheets", "tensors"], "batch": batch}
    ls.run(net, pictures, out="whole", **options)  # type: ignore[arg-type]
    stop(net, pictures, after, **options)
    assert (Path("out") / FOLDER).is_dir()
    assert not Path("out/manifest.json").exists()
    seen: list[int] = []
    run = ls.run(net, pictures, out="out", resume=True, progress=lambda p: seen.append(p.frames), **options)  # type: ignore[arg-type]
    assert seen[0] > 1, "what was done is not done again"
    assert digest(Path("out")) == digest(Path("whole"))
    assert list(run) == [f"p{index}" for index in range(7)]
    assert ls.run(net, pictures, out="out", resume=True, **options).folder == run.folder  # type: ignore[arg-type]
    with pytest.raises(OutputExistsError, match="holds another run"):
        ls.run(net, pictures, out="out", resume=True, every=2, **options)  # type: ignore[arg-type]


def test_going_on_with_something_else_is_refused(net: ls.Network, pictures: Path) -> None:
    stop(net, pictures, 2)
    for options, what in (({"scale": "layer"}, "drawing"), ({"layers": "convs"}, "layers"), ({"batch": 2}, "batch")):
        with pytest.raises(OutputExistsError, match=f"other .*{what}"):
            ls.run(net, pictures, out="out", resume=True, **options)  # type: ignore[arg-type]
    with pytest.raises(OutputExistsError, match="stopped; go on with --resume"):
        ls.run(net, pictures, out="out")


def test_overwriting_a_stopped_run_leaves_only_the_new_one(net: ls.Network, pictures: Path) -> None:
    ls.run(net, pictures / "p6.png", out="whole", layers="backbone.block1")
    stop(net, pictures, 3)
    ls.run(net, pictures / "p6.png", out="out", layers="backbone.block1", overwrite=True)
    assert digest(Path("out")) == digest(Path("whole"))


def test_a_run_that_begins_with_resume_is_a_run(net: ls.Network, pictures: Path) -> None:
    assert len(ls.run(net, pictures, out="out", resume=True)) == 7


def test_ctrl_c_ends_cleanly_and_says_how_many_are_done(net: ls.Network, pictures: Path) -> None:
    with pytest.raises(RunStopped) as caught:
        ls.run(net, pictures, out="out", progress=Stopping(3, KeyboardInterrupt()))
    done = caught.value.done
    assert 3 <= done < 7
    frames = [path for path in Path("out").iterdir() if path.name != FOLDER]
    assert len(frames) == done
    assert all((path / "sheets").is_dir() for path in frames)
    assert len(ls.run(net, pictures, out="out", resume=True)) == 7


def test_ctrl_c_on_the_command_line_exits_130_and_names_the_way_on(pictures: Path) -> None:
    command = [sys.executable, "-m", "layerscope", "run", "demo", str(pictures), "-o", "out", "--write", "tiles"]
    many = [*command, *[str(pictures)] * 30]
    process = subprocess.Popen(many, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        time.sleep(0.05)
        if len(list(Path("out").glob("*p*"))) > 2 or process.poll() is not None:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "frames are done; --resume goes on" in said
    assert "Traceback" not in said


def test_a_bad_picture_is_tried_again_and_named_the_same(net: ls.Network, pictures: Path) -> None:
    (pictures / "p3.png").write_text("no picture")
    ls.run(net, pictures, out="whole", write=["sheets"], batch=2)
    stop(net, pictures, 4, write=["sheets"], batch=2)
    run = ls.run(net, pictures, out="out", write=["sheets"], batch=2, resume=True)
    assert digest(Path("out")) == digest(Path("whole"))
    assert list(run.failures) == ["p3"]


def test_a_full_disk_is_one_line_and_what_was_whole_stays(
    net: ls.Network, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import layerscope.sinks.pictures as drawn

    written = []

    def encode(pixels: np.ndarray, *, photo: bool = False) -> bytes:
        written.append(1)
        if len(written) > 12:
            raise OSError(28, "No space left on device")
        return original(pixels, photo=photo)

    original = drawn.encode_png
    monkeypatch.setattr(drawn, "encode_png", encode)
    with pytest.raises(OutputError, match=r"out: cannot be written \(No space left on device\)") as caught:
        ls.run(net, pictures, out="out", write=["sheets"])
    assert "\n" not in str(caught.value)
    assert len(list(Path("out").glob("*/sheets/*.png"))) == 10
    monkeypatch.setattr(drawn, "encode_png", original)
    assert len(ls.run(net, pictures, out="out", write=["sheets"], resume=True)) == 7


def test_nothing_readable_leaves_no_trace(net: ls.Network, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(InputError):
        ls.run(net, tmp_path / "bad.png", out="out")
    assert not Path("out").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, as only POSIX systems do")
def test_runs_killed_at_random_end_byte_for_byte_equal() -> None:
    command = [sys.executable, str(PROJECT / "benchmarks" / "kill.py"), "--runs", "4", "--frames", "8", "--batch", "3"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "all ended byte for byte equal" in ended.stdout


def test_what_comes_after_a_frame_that_failed_does_not_take_its_place(
    net: ls.Network, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"layers": "backbone.block1", "write": ["zarr"]}
    ls.run(net, pictures, out="whole", **options)  # type: ignore[arg-type]
    true, calls = job.write_frame, []

    def fail_once(*arguments: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            time.sleep(0.5)  # until others wait
            raise OSError(5, "Input/output error")
        return true(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(job, "write_frame", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        ls.run(net, pictures, out="out", **options)  # type: ignore[arg-type]
    assert len(calls) == 2
    ls.run(net, pictures, out="out", resume=True, **options)  # type: ignore[arg-type]
    assert digest(Path("out")) == digest(Path("whole"))
