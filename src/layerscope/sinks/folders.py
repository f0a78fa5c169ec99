"""Folder names for layers, and a folder that appears only when it is whole."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from layerscope.errors import OutputError, OutputExistsError, RunFolderError
from layerscope.sinks.manifest import FILE_NAME
from layerscope.sinks.run_folder import open_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["claim", "frame_folder", "layer_folders", "move_into", "remove_files", "staging"]

REFUSED = re.compile(r'[.<>:"/\\|?*\x00-\x1f]')
"""What some file system refuses in a name, and the dot, which hides files and separates module names."""


def layer_folders(layers: Iterable[str]) -> dict[str, str]:
    """Name each layer's folder: dots, and whatever some file system refuses, as underscores.

    >>> layer_folders(["backbone.block1", "act:1", "a.b", "a_b"])
    {'backbone.block1': 'backbone_block1', 'act:1': 'act_1', 'a.b': 'a_b', 'a_b': 'a_b__2'}
    """
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for layer in layers:
        plain = REFUSED.sub("_", layer)[:150] or "_"
        name, count = plain, 1
        while name.lower() in taken:
            count += 1
            name = f"{plain}__{count}"
        taken.add(name.lower())
        folders[layer] = name
    return folders


OF_THE_RUN = (FILE_NAME, "index.html", "values.zarr", "video", "webp", "tensorboard")
"""What a run keeps files of its own under."""


def frame_folder(frame: str) -> str:
    """Name a frame's folder within a run: its own name, unless a run keeps something of its own under that.

    >>> frame_folder("street/dog"), frame_folder("video/dog"), frame_folder("Video")
    ('street/dog', 'video_/dog', 'Video_')
    """
    first, slash, rest = frame.partition("/")
    return f"{first}_{slash}{rest}" if first.lower() in OF_THE_RUN else frame


def claim(out: Path, *, overwrite: bool) -> None:
    """Make the output folder ready, or refuse before any work is done.

    A folder that holds a run is refused without ``overwrite``; with it, what that run wrote is removed. So
    is one that holds anything else; with ``overwrite`` that is left alone.

    Raises:
        OutputExistsError: It holds something.
        OutputError: It cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = [entry.name for entry in out.iterdir() if not entry.name.startswith(".")]
        if FILE_NAME in held:
            if not overwrite:
                raise OutputExistsError(f"{out} holds another run; choose another folder (--out) or say --overwrite")
            _remove_run(out)
        elif held and not overwrite:
            raise OutputExistsError(
                f"{out} is not empty and holds no run of Layerscope ({held[0]}, ...); "
                "choose another folder (--out) or say --overwrite to write beside it"
            )
        with tempfile.TemporaryDirectory(prefix=".layerscope-", dir=out):
            pass
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Give a hidden folder to write into; whatever is left in it goes when the body ends, however it ends."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".layerscope-", dir=out))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_into(staged: Path, final: Path) -> None:
    """Move everything in a staged folder to its final place, one rename per entry."""
    final.mkdir(parents=True, exist_ok=True)
    for entry in sorted(staged.iterdir()):
        target = final / entry.name
        if entry.is_dir() and target.is_dir():
            move_into(entry, target)
        else:
            entry.replace(target)


def _remove_run(out: Path) -> None:
    """Remove what an earlier run wrote and nothing else; the manifest goes first, so no half run looks whole."""
    try:
        run = open_run(out)
    except RunFolderError as error:
        raise OutputExistsError(f"{error}; remove it by hand or choose another folder (--out)") from None
    paths = run.paths
    (out / FILE_NAME).unlink()
    remove_files(out, paths)


def remove_files(out: Path, paths: Iterable[Path]) -> None:
    """Remove files, and folders, of a run, and the folders above them that are empty then.

    What lies outside of the run's folder stays: a manifest that points elsewhere does not get its way.
    """
    root = out.resolve()
    parents: set[Path] = set()
    for path in paths:
        if root not in path.resolve().parents:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        parents.update(parent for parent in path.parents if out in parent.parents)
    for folder in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
