"""How long ``layerscope --help`` takes beside ``python -c pass``, and what importing layerscope costs.

The commands take turns; what counts is the difference within a round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import layerscope'": [sys.executable, "-c", "import layerscope"],
    "layerscope --help": [str(Path(sys.executable).with_name("layerscope")), "--help"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each command runs (default: 15)")
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(rounds + 1):  # the first round only warms up
        for name, command in COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    nothing = seconds["python -c pass"]
    print(f"{rounds} rounds\n\n| command | seconds | more than `python -c pass` |\n|---|---|---|")
    for name, times in seconds.items():
        more = statistics.median(one - other for one, other in zip(times, nothing, strict=True))
        print(f"| `{name}` | {statistics.median(times):.3f} | {more:+.3f} |")


if __name__ == "__main__":
    main()
