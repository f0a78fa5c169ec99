"""The work of a run: groups of frames through the network, their files written beside the next group's pass."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import torch

from layerscope.errors import InputError
from layerscope.reading import Read, in_groups, number_frames, read_ahead
from layerscope.sinks.folders import frame_folder
from layerscope.sinks.gathered import Gathered
from layerscope.sinks.passing import Passed, as_output_errors, pass_batch, write_frame
from layerscope.sinks.run_folder import count_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import nn

    from layerscope.hooks.select import Plan
    from layerscope.inputs import Input, Preparation
    from layerscope.models.network import Network
    from layerscope.sinks.drawing import Drawing
    from layerscope.sinks.journal import Journal
    from layerscope.sinks.manifest import Manifest
    from layerscope.sinks.sink import Sink

__all__ = ["Job", "Progress", "Report", "nothing_readable", "several_frames", "work_through"]

GIVE_BACK_EVERY = 8
"""Frames from one return of freed memory to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        frames: Frames done, failed ones and those of an earlier start counted.
        of_frames: All of them; None where videos have not told yet.
        pictures: Files written.
    """

    frames: int
    of_frames: int | None
    pictures: int


Report: TypeAlias = "Callable[[Progress], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is the same for every frame.

    Attributes:
        net: The network.
        module: What runs: its module, or a quicker copy of it.
        plan: Which layers.
        until: After how many calls of each layer a forward pass may end; None: it runs to its end.
        preparation: How pictures become its input.
        sinks: Where the maps go.
        drawing: How values become pixels.
        batch: How many frames go through together.
        threads: How many threads decode, and how many encode.
        report: Called after each batch.
    """

    net: Network
    module: nn.Module
    plan: Plan
    until: Mapping[str, int] | None
    preparation: Preparation
    sinks: Sequence[Sink]
    drawing: Drawing
    batch: int
    threads: int
    report: Report


def work_through(job: Job, found: Sequence[Input], journal: Journal, head: Manifest) -> None:
    """Take all frames through that are not done yet, and write the manifest.

    Args:
        job: The work.
        found: Where the frames come from.
        journal: What is done.
        head: The manifest without its frames.

    Raises:
        InputError: No picture could be read.
        OutputError: The folder cannot be written.
    """
    with ThreadPoolExecutor(job.threads) as encoders, _sharing_cores(job, found):
        with as_output_errors(journal.out):
            gathered = Gathered(job.sinks, journal.folder, encoders, fps=job.drawing.fps)
        with contextlib.closing(gathered):
            errors = _take_through(job, found, journal, gathered, encoders)
            if not len(journal):
                raise nothing_readable(errors)
            head = msgspec.structs.replace(head, failures={name: str(error) for name, error in errors.items()})
            with as_output_errors(journal.out):
                gathered.flush()
                journal.mark()
                journal.finish(gathered.finish(journal.out, head, journal.records))


@contextlib.contextmanager
def _sharing_cores(job: Job, found: Sequence[Input]) -> Iterator[None]:
    """Leave cores to those who decode and encode beside the forward pass, where there is more than one picture.

    PyTorch's threads wait for one another at each operation, and wait busily; on cores that they do not have for
    themselves, most of a run is such waiting.
    """
    before = torch.get_num_threads()
    if job.net.device.type == "cpu" and several_frames(found):
        torch.set_num_threads(max(1, before - min(job.threads, (os.cpu_count() or 1) // 2)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def several_frames(found: Sequence[Input]) -> bool:
    """Tell whether inputs may give more than one frame."""
    return len(found) > 1 or found[0].moments is not None


def nothing_readable(errors: Mapping[str, InputError]) -> InputError:
    """Phrase the error for a run none of whose pictures could be read; a single one keeps its own."""
    if len(errors) == 1:
        return next(iter(errors.values()))
    return InputError(f"none of {len(errors)} pictures could be read: {'; '.join(map(str, errors.values()))}")


def _take_through(
    job: Job, found: Sequence[Input], journal: Journal, gathered: Gathered, encoders: ThreadPoolExecutor
) -> dict[str, InputError]:
    """Take all frames through that are not done; return what is wrong with those that could not be read."""
    errors: dict[str, InputError] = {}
    alone = not several_frames(found)
    beside = not alone and job.net.device.type == "cpu"  # a GPU takes faster than copies are made
    total = len(found) if all(item.moments is None for item in found) else None
    writing: deque[Future[int]] = deque()
    pictures = 0
    with ThreadPoolExecutor(1) as finisher:
        try:
            for group in in_groups(
                read_ahead(
                    number_frames(found, errors), job.preparation, journal, batch=job.batch, threads=job.threads
                ),
                job.batch,
            ):
                good = [read for read in group if not isinstance(read.prepared, InputError)]
                errors |= {read.name: read.prepared for read in group if isinstance(read.prepared, InputError)}
                if any(read.index not in journal for read in good):
                    passed = _pass(job, good, encoders if beside else None)
                    while len(writing) > 1:
                        pictures += writing.popleft().result()
                    before = writing[-1] if writing else None
                    writing.append(
                        finisher.submit(_write, job, passed, good, journal, gathered, encoders, alone, before)
                    )
                job.report(Progress(frames=len(journal) + len(errors), of_frames=total, pictures=pictures))
        finally:
            _settle(writing)
        pictures += sum(future.result() for future in writing)
    job.report(Progress(frames=len(journal) + len(errors), of_frames=total, pictures=pictures))
    return errors


def _settle(writing: Iterable[Future[int]]) -> None:
    """Let what is being written end, and drop what has not begun if something failed."""
    for future in writing:
        if not future.cancelled() and future.exception() is not None:
            for other in writing:
                other.cancel()
            return


def _pass(job: Job, reads: Sequence[Read], takers: ThreadPoolExecutor | None) -> list[Passed]:
    prepared = [read.prepared for read in reads if not isinstance(read.prepared, InputError)]
    return pass_batch(
        job.module,
        torch.cat([x for _, x, _ in prepared]).to(job.net.device),
        [(frame, placement) for frame, _, placement in prepared],
        plan=job.plan,
        sinks=job.sinks,
        scale=job.drawing.scale,
        call=job.net.call,
        until=job.until,
        takers=takers,
    )


def _write(
    job: Job,
    passed: Sequence[Passed],
    reads: Sequence[Read],
    journal: Journal,
    gathered: Gathered,
    encoders: ThreadPoolExecutor,
    alone: bool,
    before: Future[int] | None,
) -> int:
    """Write the frames of a group that are not done yet, unless the group before failed; return how many files."""
    if before is not None:
        before.result()  # a frame must not take the row of one that is missing
    files = 0
    for item, read in zip(passed, reads, strict=True):
        if read.index in journal:
            continue
        folder = "." if alone else frame_folder(item.frame.name)
        row = len(journal)
        record, pieces = write_frame(
            item,
            journal.out,
            folder,
            encoders,
            sinks=job.sinks,
            beside=journal.folder,
            row=None if alone else row,
        )
        with as_output_errors(journal.out):
            journal.add(read.index, record)
            if gathered.add(row, record, pieces):
                journal.mark()
        if len(journal) % GIVE_BACK_EVERY == 0:
            _give_memory_back()
        files += count_files(record)
    return files


def _give_memory_back() -> None:
    """Return to the system what was freed and lies in pieces, where the C library can: else it grows for a long time.

    Each thread's large arrays leave their own holes.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
