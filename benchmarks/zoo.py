"""The promises of capture, held against the networks of other libraries, as ``layerscope check`` does it for one.

Each network is built with seeded random weights, at the smallest size that it takes, and checked in this process.
What cannot be built or run here is listed as not run. The exit code is 1 if any promise is broken::

    python benchmarks/zoo.py --out docs/networks.md               # everything; takes half an hour
    python benchmarks/zoo.py --quick                              # a small share, in a minute
    python benchmarks/zoo.py --only "timm:*" --share 2/4          # a part, to spread over machines
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import layerscope as ls
from zoo_limits import TimeoutReached, limit_memory, limited
from zoo_list import Subject, list_subjects, quick_share

if TYPE_CHECKING:
    from layerscope import Network

SIZES = (64, 112, 224, None)
"""What is tried, smallest first; None: the network's own size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one network.

    Attributes:
        subject: Which.
        size_hw: The size of its input; None where it did not run.
        check: What was found; None where it did not run, or could not be checked.
        broken: Which promises are broken, in words.
        not_run: Why it did not run.
    """

    subject: Subject
    size_hw: tuple[int, int] | None = None
    check: ls.Check | None = None
    broken: str = ""
    not_run: str = ""

    @property
    def unsteady(self) -> str:
        """What could not be compared, because the network differs from itself from run to run."""
        rows = self.check.rows if self.check else ()
        return "; ".join(row.detail for row in rows if row.detail.startswith("not comparable"))

    @property
    def verdict(self) -> str:
        """One line of what came of it."""
        if self.not_run:
            return f"not run: {self.not_run}"
        if self.broken or self.check is None:
            return f"BROKEN: {self.broken}"
        return f"passed, {self.check.layers} layers, {self.check.maps} maps, {self.check.operations} operations"


def main() -> None:
    """Check, write the page, and say by the exit code whether all promises hold."""
    arguments = _parser().parse_args()
    limit_memory(arguments.memory)
    with tempfile.TemporaryDirectory() as folder:
        subjects = list_subjects(Path(folder), arguments.timm, arguments.seed)
        subjects = [subject for subject in subjects if fnmatch(subject.name, arguments.only)]
        if arguments.quick:
            subjects = quick_share(subjects, arguments.seed)
        part, parts = (int(number) for number in arguments.share.split("/"))
        rows: list[Row] = []
        for subject in subjects[part - 1 :: parts]:
            begin = time.perf_counter()
            rows.append(examine(subject, 15 if arguments.quick else arguments.seconds))
            print(f"{subject}: {rows[-1].verdict} ({time.perf_counter() - begin:.1f} s)", file=sys.stderr, flush=True)
            if arguments.out:  # after each, so that a run that is stopped leaves what it has
                arguments.out.write_text(page(rows), encoding="utf-8")
    print(summary(rows))
    sys.exit(any(row.broken for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="only networks whose name fits")
    parser.add_argument("--share", default="1/1", metavar="K/N", help="every N-th network, from the K-th")
    parser.add_argument("--quick", action="store_true", help="two networks a library, 15 seconds each at most")
    parser.add_argument("--timm", type=int, default=200, metavar="N", help="how many of timm's (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among timm's (default: 0)")
    parser.add_argument("--seconds", type=int, default=180, help="at most, a network (default: 180)")
    parser.add_argument("--memory", type=int, default=18, metavar="GB", help="at most, in all (default: 18)")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table as a page")
    return parser


def examine(subject: Subject, seconds: int) -> Row:
    """Build a network, run it once plainly, and hold the promises against it."""
    try:
        with limited(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net, reason = _smallest(subject)
            if net is None:
                return Row(subject=subject, not_run=reason)
            return _held(subject, net)
    except TimeoutReached:
        return Row(subject=subject, not_run=f"takes more than {seconds} s")
    finally:
        gc.collect()


def _smallest(subject: Subject) -> tuple[Network | None, str]:
    """Build a network at the smallest size at which its own forward works; else say why it does not."""
    reason = ""
    for size in SIZES:
        try:
            net = ls.load(subject.source, arguments=dict(subject.arguments), device="cpu", size=size)
            with torch.no_grad():
                net.forward(torch.zeros(1, 3, *net.preparation.size_hw))
        except Exception as error:  # the network's own, at this size
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            if "memory" in reason.lower():
                return None, "needs more memory than is allowed here"
            gc.collect()
        else:
            return net, ""
    return None, reason


def _held(subject: Subject, net: Network) -> Row:
    """Check a network that runs: what goes wrong from here on is ours."""
    size_hw = net.preparation.size_hw
    try:
        check = ls.check(net)
        missing = _silent_stages(net) if net.stages else []
    except Exception as error:
        if "memory" in str(error).lower():
            return Row(subject=subject, not_run="needs more memory than is allowed here")
        return Row(subject=subject, size_hw=size_hw, broken=f"{type(error).__name__}: {' '.join(str(error).split())}")
    broken = [f"{row.promise} ({row.detail})" for row in check.rows if not row.kept]
    broken += [f"the stage {name} gives nothing" for name in missing]
    return Row(subject=subject, size_hw=size_hw, check=check, broken="; ".join(broken))


def _silent_stages(net: Network) -> list[str]:
    """List the stages that a capture without further words does not give, by call or by item."""
    blank = torch.zeros(*net.preparation.size_hw, 3, dtype=torch.uint8).numpy()
    given = list(ls.capture(net, blank))
    return [
        stage for stage in net.stages if not any(re.match(rf"{re.escape(stage)}($|[.:\[])", name) for name in given)
    ]


def summary(rows: list[Row]) -> str:
    """One line of all."""
    run = [row for row in rows if not row.not_run]
    broken = [row for row in run if row.broken]
    checks = [row.check for row in run if row.check]
    maps = sum(check.maps for check in checks)
    layers = sum(check.layers for check in checks)
    return (
        f"{len(rows)} networks: {len(run)} checked, {len(run) - len(broken)} keep every promise, {len(broken)} break "
        f"one, {len(rows) - len(run)} not run; {layers} layers and {maps} maps compared"
    )


def page(rows: list[Row]) -> str:
    """Write the page: a table by library and family, and every network that failed or did not run."""
    lines = [
        "# Networks that were checked",
        "",
        "`layerscope check` on networks with seeded random weights, each at the smallest size that it takes: every",
        "map is compared bit for bit with what a plain cloning hook sees, and the outputs, weights, modes and hooks",
        "with what they were. `benchmarks/zoo.py` makes this page.",
        "",
        f"{summary(rows)}.",
        "",
        f"torch {torch.__version__.partition('+')[0]}{_versions()}.",
        "",
        "| library | family | checked | passed | layers | maps | not run |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.subject.library, row.subject.family), []).append(row)
    lines += [_line(library, family, group) for (library, family), group in groups.items()]
    for title, found in (
        ("Broken promises", [(row, row.broken) for row in rows if row.broken]),
        ("Not comparable", [(row, row.unsteady) for row in rows if row.unsteady]),
        ("Not run", [(row, row.not_run) for row in rows if row.not_run]),
    ):
        lines += ["", f"## {title}", ""]
        lines += [f"- `{row.subject}`: {why}" for row, why in found] or ["None."]
    return "\n".join(lines) + "\n"


def _line(library: str, family: str, rows: list[Row]) -> str:
    run = [row for row in rows if not row.not_run]
    checks = [row.check for row in run if row.check]
    passed = sum(not row.broken for row in run)
    layers, maps = sum(check.layers for check in checks), sum(check.maps for check in checks)
    return f"| {library} | {family} | {len(run)} | {passed} | {layers} | {maps} | {len(rows) - len(run)} |"


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = ""
    for package in ("torchvision", "timm", "ultralytics", "transformers", "segmentation-models-pytorch"):
        try:
            found += f", {package} {version(package).partition('+')[0]}"
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
