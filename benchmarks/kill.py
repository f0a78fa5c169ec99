"""A run that is killed at a random moment and resumed, again and again: it has to end as if nothing had happened.

Each round starts a job, kills it with SIGKILL, looks whether any file under its final name is broken, resumes it (now
and then killing that too) until it is through, and compares the folder with that of an uninterrupted run, byte for
byte::

    python benchmarks/kill.py --runs 100
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import layerscope as ls
from layerscope.sinks import gathered
from layerscope.sinks.journal import FOLDER

WRITE = ("tiles", "sheets", "tensors", "zarr", "video", "webp", "tensorboard", "html")
FLUSH_EVERY = 8
"""Frames from one flush to the next: fewer than in earnest, so that kills come between flushes."""

SIDE_PX = 96


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="how many jobs are killed (default: 100)")
    parser.add_argument("--frames", type=int, default=30, help="pictures a job (default: 30)")
    parser.add_argument("--batch", type=int, default=4, help="how many go together (default: 4)")
    parser.add_argument("--write", default=",".join(WRITE), help=f"kinds of files (default: {','.join(WRITE)})")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # what is forked below must not have started threads
    write = arguments.write.split(",")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _pictures(Path("pictures"), arguments.frames)
        begin = time.perf_counter()
        _wait(_start(Path("whole"), write, arguments.batch, resume=False))
        seconds = time.perf_counter() - begin
        expected = digest(Path("whole"))
        print(f"a job: {len(expected)} files in {seconds:.2f} s")
        kills = _trials(arguments.runs, seconds, expected, write, arguments.batch, random.Random(arguments.seed))
    print(f"{arguments.runs} jobs, {kills} kills: all ended byte for byte equal, no file was ever partial")


def _pictures(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8)).save(folder / f"picture{index}.png")


def _trials(
    runs: int, seconds: float, expected: dict[str, str], write: list[str], batch: int, chance: random.Random
) -> int:
    kills = 0
    out = Path("out")
    for trial in range(runs):
        shutil.rmtree(out, ignore_errors=True)
        resume, ended = False, False
        while not ended:
            child = _start(out, write, batch, resume=resume)
            if resume and chance.random() < 0.5:
                _wait(child)
                ended = True
                continue
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            ended = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
            kills += not ended
            _look_for_partial_files(out)
            resume = out.exists()
        found = digest(out)
        if found != expected:
            differ = sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
            raise SystemExit(f"run {trial}: {len(differ)} files differ, such as {differ[:3]}")
        if (trial + 1) % 10 == 0:
            print(f"{trial + 1} jobs, {kills} kills", file=sys.stderr)
    return kills


def _start(out: Path, write: list[str], batch: int, *, resume: bool) -> int:
    """Start the job in a process of its own."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            warnings.simplefilter("ignore")
            gathered.FLUSH_EVERY = FLUSH_EVERY
            net = ls.load("demo", device="cpu", size=SIDE_PX)
            ls.run(net, "pictures", out=out, write=write, batch=batch, threads=2, resume=resume)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def _wait(child: int) -> None:
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"the job ended with {os.waitstatus_to_exitcode(status)}")


def _look_for_partial_files(out: Path) -> None:
    """Open everything that has its final name."""
    for path in out.rglob("*") if out.exists() else ():
        if FOLDER in path.parts or not path.is_file():
            continue
        if path.suffix in (".jpg", ".png", ".webp"):
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            load_file(path)
        elif path.suffix == ".mp4":
            import av

            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)), path
        elif path.name == "index.html":
            assert path.read_text().rstrip().endswith("</html>"), path
        elif path.name == "manifest.json":
            ls.open_run(out)
        elif path.name == "zarr.json":
            json.loads(path.read_bytes())


def digest(folder: Path) -> dict[str, str]:
    """Return the checksum of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


if __name__ == "__main__":
    main()
