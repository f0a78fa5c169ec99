"""Frames read and prepared ahead of the forward pass, in groups that are the same however often a run stops."""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerscope.beside import beside
from layerscope.errors import InputError
from layerscope.inputs import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator

    from torch import Tensor

    from layerscope.inputs import Frame, Input, Placement, Preparation

__all__ = ["Read", "in_groups", "number_frames", "read_ahead"]


@dataclass(frozen=True, slots=True)
class Read:
    """A frame that was read and prepared, or what was wrong with it."""

    index: int
    name: str
    prepared: tuple[Frame, Tensor, Placement] | InputError


def number_frames(
    found: Iterable[Input], errors: dict[str, InputError]
) -> Iterator[tuple[int, str, Callable[[], Frame]]]:
    """Number all frames; a source that cannot be opened, or ends before its time, takes a number too."""
    numbers = itertools.count()
    for item in found:
        try:
            for name, read in item.frames():
                yield next(numbers), name, read
        except InputError as error:
            next(numbers)
            errors[item.name] = error


def read_ahead(
    frames: Iterable[tuple[int, str, Callable[[], Frame]]],
    preparation: Preparation,
    done: Container[int],
    *,
    batch: int,
    threads: int,
) -> Iterator[Read]:
    """Read and prepare frames beside the forward pass, in order, few enough to hold.

    Args:
        frames: From ``number_frames``.
        preparation: How they become the network's input.
        done: Numbers of frames that need not be read, unless others that go with them do.
        batch: How many go through the network together.
        threads: How many threads read.
    """

    def work(index: int, name: str, read: Callable[[], Frame]) -> Read:
        try:
            frame = read()
            return Read(index, name, (frame, *prepare(frame, preparation)))
        except InputError as error:
            return Read(index, name, error)

    depth = max(2, 2 * batch)
    with ThreadPoolExecutor(min(threads, depth)) as readers, beside(frames, depth) as listed:
        waiting: deque[Future[Read]] = deque()
        for index, name, read in listed:
            if _is_done(index, batch, done):
                continue
            waiting.append(readers.submit(work, index, name, read))
            if len(waiting) >= depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _is_done(index: int, batch: int, done: Container[int]) -> bool:
    first = index - index % batch
    return all(one in done for one in range(first, first + batch))


def in_groups(reads: Iterable[Read], batch: int) -> Iterator[list[Read]]:
    """Put together what goes through the network together: always the same frames, however often a run stops."""
    for _, group in itertools.groupby(reads, key=lambda read: read.index // batch):
        yield list(group)
