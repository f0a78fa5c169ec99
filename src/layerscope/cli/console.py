"""What a person sees beside the results: errors, warnings, progress. All of it on stderr."""

from __future__ import annotations

import functools
import json
import sys
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

__all__ = ["frames_bar", "print_failures", "print_json", "readable_errors"]


def readable_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Let a command end with one readable line and exit code 1 where Layerscope raises an error on purpose.

    Its warnings become lines too, and with ``--quiet`` they are dropped.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if kwargs.get("quiet") else "always", LayerscopeWarning)
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # it takes less than it is given
            try:
                return command(*args, **kwargs)
            except LayerscopeError as error:
                _line("error", str(error))
                raise typer.Exit(1) from None
            except KeyboardInterrupt as stop:
                done = getattr(stop, "done", None)
                _line("stopped", "nothing is kept" if not done else f"{done} frames are done; --resume goes on")
                raise typer.Exit(130) from None

    return wrapped


def _show_warning(message: Warning | str, category: type[Warning], *_where: Any) -> None:
    if issubclass(category, LayerscopeWarning):
        _line("warning", str(message))


def _line(kind: str, text: str) -> None:
    typer.echo(f"{kind}: {' '.join(text.split())}", err=True)


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
def frames_bar(quiet: bool) -> Iterator[Callable[[Progress], None] | None]:
    """Show how many frames are done and pictures written, and how fast; nothing where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pictures]} pictures"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=None, pictures=0, rate="")

        def show(progress: Progress) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = f"{progress.pictures / elapsed:.0f} pictures/s" if elapsed else ""
            bar.update(
                task,
                completed=progress.frames,
                total=progress.of_frames,
                pictures=progress.pictures,
                rate=rate,
            )

        yield show
