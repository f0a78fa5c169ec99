"""What a person sees beside the results: errors, warnings, progress. All of it on stderr."""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import typer

from layerscope.errors import LayerscopeError, LayerscopeWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from layerscope.job import Progress

P = ParamSpec("P")
R = TypeVar("R")

LOGGER = logging.getLogger("layerscope")
LOGGER.addHandler(logging.NullHandler())  # else Python prints errors that no log is kept of

LOG_EVERY_S = 1.0

__all__ = ["frames_bar", "print_failures", "print_json", "readable_errors"]


def readable_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with one readable line and exit code 1 where Layerscope raises an error on purpose.

    Its warnings become lines too, and with ``--quiet`` they are dropped. With ``--log`` all of that, and progress, goes
    to a file as well.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings(), _logged_to(kwargs.get("log")):
            warnings.simplefilter("ignore" if kwargs.get("quiet") else "always", LayerscopeWarning)
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # it takes less than it is given
            begin = time.perf_counter()
            try:
                LOGGER.info("layerscope %s", " ".join(sys.argv[1:]))
                result = command(*args, **kwargs)
            except LayerscopeError as error:
                _line("error", str(error))
                raise typer.Exit(1) from None
            except KeyboardInterrupt as stop:
                done = getattr(stop, "done", None)
                _line("stopped", "nothing is kept" if not done else f"{done} frames are done; --resume goes on")
                raise typer.Exit(130) from None
            LOGGER.info("done in %.1f s", time.perf_counter() - begin)
            return result

    return wrapped


@contextmanager
def _logged_to(path: Any) -> Iterator[None]:
    """Append what happens to a file, each line with its time."""
    if path is None:
        yield
        return
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        _line("error", f"{path}: cannot be written ({error.strerror or error})")
        raise typer.Exit(1) from None
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(logging.NOTSET)
        handler.close()


def _show_warning(message: Warning | str, category: type[Warning], *_where: Any) -> None:
    if issubclass(category, LayerscopeWarning):
        _line("warning", str(message))


def _line(kind: str, text: str) -> None:
    line = " ".join(text.split())
    typer.echo(f"{kind}: {line}", err=True)
    LOGGER.log(logging.WARNING if kind == "warning" else logging.ERROR, line)


def print_failures(failures: dict[str, str]) -> None:
    """Name the pictures that could not be read, and end with exit code 1 if there are any."""
    for reason in failures.values():
        _line("error", reason)
    if failures:
        raise typer.Exit(1)


def print_json(value: Any) -> None:
    """Print a result on stdout."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


@contextmanager
def frames_bar(quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show how many frames are done and files written, and how fast; log it only where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield _logging_progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pictures]} files"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=None, pictures=0, rate="")

        log = _logging_progress()

        def show(progress: Progress) -> None:
            log(progress)
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{progress.pictures / elapsed:.0f} files/s" if elapsed else ""
            bar.update(
                task,
                completed=progress.frames,
                total=progress.of_frames,
                pictures=progress.pictures,
                rate=rate,
            )

        yield show


def _logging_progress() -> Callable[[Progress], None]:
    """Log progress, now and then."""
    begin = last = time.perf_counter()

    def log(progress: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= LOG_EVERY_S or progress.frames == progress.of_frames:
            last = now
            of = f" of {progress.of_frames}" if progress.of_frames is not None else ""
            rate = progress.frames / (now - begin)
            LOGGER.info("%d%s frames, %d files, %.1f frames/s", progress.frames, of, progress.pictures, rate)

    return log
