"""Limits of time and memory for networks that are too large for the machine."""

from __future__ import annotations

import resource
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TimeoutReached", "limit_memory", "limited"]


class TimeoutReached(BaseException):
    """The time is over."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Let the body run for some seconds at most.

    Raises:
        TimeoutReached: They are over.
    """

    def stop(*_: Any) -> None:
        raise TimeoutReached

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(gigabytes: int) -> None:
    """Let allocations fail that take the process beyond so many gigabytes, instead of the whole machine."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes << 30, hard))
