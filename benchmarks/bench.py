"""Measure what Layerscope costs, each row beside its rival in the same run, in turns.

It prints the tables; with ``--write`` they go into docs/speed.md and README.md, the figure into docs/images. It wants
a quiet machine and 15 GB for temporary files. ``make bench`` sets up the rivals in an environment of their own and
calls it with ``--write``.
"""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import capture
import drawing
import flood
import growth
import processes
import tiles
from table import goals_table, machine, put_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from table import Table

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "speed.md"
README = PROJECT / "README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a group is told.

    Attributes:
        rounds: How often every way takes its turn.
        frames: How many frames of a video make the long run.
        video: The video; None: one is made.
        figure: Where the figure of growth goes; None: nowhere.
    """

    rounds: int
    frames: int
    video: Path | None
    figure: Path | None

    @property
    def few_rounds(self) -> int:
        """For what takes minutes, or hardly varies."""
        return max(1, self.rounds // 3)


GROUPS: dict[str, Callable[[Options], Table]] = {
    "tiles": tiles.measure,
    "process": processes.recipe,
    "sheets": drawing.measure,
    "capture": capture.measure,
    "rivals": capture.measure_rivals,
    "memory": processes.memory,
    "help": processes.start,
    "flood": flood.measure,
    "growth": growth.measure,
}
"""Rows of one table each, in README's order."""


def main() -> None:
    """Measure and print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often every way takes its turn (default: 7)")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="ROW", help=f"some of: {' '.join(GROUPS)}")
    parser.add_argument("--frames", type=int, default=1000, help="frames of the long run (default: 1000)")
    parser.add_argument("--video", type=Path, help="a video for it, repeated as needed; by default one is made")
    parser.add_argument("--write", action="store_true", help="write docs/speed.md, its figure, and README's table")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        _answer(arguments.answer)
        return
    if arguments.write and arguments.only:
        parser.error("--write takes all rows: what stands in one table is measured in one run")
    options = Options(
        rounds=arguments.rounds,
        frames=arguments.frames,
        video=arguments.video.resolve() if arguments.video else None,
        figure=PROJECT / "docs" / "images" / "growth.png" if arguments.write else Path("growth.png").resolve(),
    )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        tables = {name: _measure(name, options) for name in arguments.only or GROUPS}
        os.chdir(PROJECT)
    short = f"{machine()}; {options.rounds} rounds (of runs that take minutes {options.few_rounds}).\n\n"
    short += goals_table(goal for table in tables.values() for goal in table.goals)
    print(short)
    if arguments.write:
        blocks = {"machine": f"{machine()}."} | {name: table.markdown() for name, table in tables.items()}
        for page, name, text in [(README, "speed", short), *((PAGE, *block) for block in blocks.items())]:
            if not put_between(page, name, f"\n{text}\n"):
                print(f"{page.name} has no <!-- {name} --> and <!-- /{name} -->: not written", file=sys.stderr)


def _measure(name: str, options: Options) -> Table:
    """Measure a group in a process of its own, so that no library that one group imports changes another."""
    begin = time.perf_counter()
    answer = Path(f"{name}.pickle")
    command = [sys.executable, __file__, "--answer", str(answer)]
    subprocess.run(command, input=pickle.dumps((name, options)), stdout=sys.stderr, check=True)
    table: Table = pickle.loads(answer.read_bytes())
    print(f"\n{table.markdown()}\n")
    print(f"{name} took {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return table


def _answer(answer: Path) -> None:
    """Measure the group that stdin names and leave its table in a file."""
    warnings.simplefilter("ignore")
    os.environ["MPLBACKEND"] = "Agg"
    name, options = pickle.load(sys.stdin.buffer)
    answer.write_bytes(pickle.dumps(GROUPS[name](options)))


if __name__ == "__main__":
    main()
