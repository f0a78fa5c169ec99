"""A command in a process of its own: how long it takes, and how much memory it holds at most.

A process that is started counts what its starter held as memory of its own, so that the command is started by this
small file, run as a script, and not by what measures.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Cost", "alone"]


class Cost(NamedTuple):
    """What a process cost.

    Attributes:
        seconds: From its start to its end.
        peak_mb: The most memory that it held, in units of 10^6 bytes; files that it maps count where they were read.
    """

    seconds: float
    peak_mb: float


def alone(command: Sequence[str]) -> Cost:
    """Run a command to its end.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    # An installed package has its bytecode beside it, whatever this machine says of files that are run from a checkout.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    starter = subprocess.run(
        [sys.executable, "-I", __file__, *command], capture_output=True, text=True, env=environment
    )
    if starter.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{starter.stderr}")
    return Cost(*json.loads(starter.stdout))


def _start() -> None:
    begin = time.perf_counter()
    code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
    seconds = time.perf_counter() - begin
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6]))
    sys.exit(code)


if __name__ == "__main__":
    _start()
