"""An iterator that runs ahead on a thread of its own."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

__all__ = ["beside"]


@contextmanager
def beside(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Iterate on another thread, at most so many items ahead; when the body ends, so does the thread.

    Args:
        items: What to iterate. An error in it is raised where the item would have come.
        depth: How many items may wait.

    >>> with beside(range(3), depth=2) as numbers:
    ...     list(numbers)
    [0, 1, 2]
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stopped.is_set():
            try:
                waiting.put((kind, value), timeout=0.1)
            except queue.Full:
                continue
            return

    def produce() -> None:
        try:
            for item in items:
                put("item", item)
                if stopped.is_set():
                    return
        except BaseException as error:  # whatever it is, it belongs to who asks for the item
            put("error", error)
        else:
            put("end", None)

    def consume() -> Iterator[T]:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value

    thread = threading.Thread(target=produce, name="layerscope-ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        thread.join()
