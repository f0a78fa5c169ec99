"""Fetching the authors' own weights: once, whole, and checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerscope.errors import DownloadError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OFFICIAL", "Official", "cache_folder", "fetch", "official_weights"]

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """A file that a network's authors publish.

    Attributes:
        url: Where it lies.
        sha256: Its checksum, hexadecimal.
    """

    url: str
    sha256: str


OFFICIAL = {
    "yolov3": Official(
        url="https://data.pjreddie.com/files/yolov3.weights",
        sha256="523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
    ),
}


def cache_folder() -> Path:
    """Return the folder of downloaded weights: ``$LAYERSCOPE_CACHE``, else the system's own for caches."""
    import platformdirs

    return Path(os.environ.get("LAYERSCOPE_CACHE") or platformdirs.user_cache_path("layerscope"))


def official_weights(source: str) -> Path:
    """Return the official weights of a source, downloading them the first time.

    Raises:
        OptionError: There are none for this source.
        DownloadError: They cannot be fetched whole.
    """
    official = OFFICIAL.get(source)
    if official is None:
        raise OptionError(f"official weights are known for {', '.join(OFFICIAL)} only, not for {source}")
    target = cache_folder() / official.url.rsplit("/", 1)[-1]
    if not target.exists():
        with _progress_bar(target.name) as progress:
            fetch(official, target, progress=progress)
    return target


def fetch(official: Official, target: Path, *, progress: Callable[[int, int | None], None] | None = None) -> None:
    """Download a file, going on where an earlier attempt stopped.

    What has come so far is kept beside the target as ``.part``; the target itself appears only when the
    checksum is right.

    Args:
        official: What to fetch.
        target: Where it is to be.
        progress: Called with the bytes there so far and in all (None: not known).

    Raises:
        DownloadError: The server cannot be reached, stops early, or sends something else.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(official.url, part, progress or (lambda _done, _total: None))
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != official.sha256:
            part.unlink()
            raise DownloadError(
                f"{official.url}: what came has SHA-256 {digest}, expected {official.sha256}; it was thrown away"
            )
        part.replace(target)
    except urllib.error.URLError as error:
        raise DownloadError(f"{official.url}: cannot be fetched ({error.reason}){_kept(part)}") from None
    except http.client.HTTPException as error:
        raise DownloadError(f"{official.url}: cannot be fetched ({error!r}){_kept(part)}") from None
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"{official.url}: {error}{_kept(part)}") from None


def _receive(url: str, part: Path, progress: Callable[[int, int | None], None]) -> None:
    done = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "layerscope"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:  # nothing left to send: the checksum will tell
            return
        raise
    with response:
        if response.status != 206:  # the server starts over
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as stream:
            try:
                while chunk := response.read(CHUNK_BYTES):
                    stream.write(chunk)
                    done += len(chunk)
                    progress(done, total)
            except http.client.IncompleteRead as error:  # what is sent without a length broke off
                stream.write(error.partial)
                done += len(error.partial)
                raise DownloadError(f"{url}: stopped after {done} bytes; run again to go on") from None
    if total is not None and done < total:
        raise DownloadError(f"{url}: stopped after {done} of {total} bytes; run again to go on")


def _kept(part: Path) -> str:
    return f"; {part.stat().st_size} bytes are kept, run again to go on" if part.exists() else ""


@contextmanager
def _progress_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        "{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
