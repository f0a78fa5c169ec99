"""What a run has done so far, in a hidden folder, so that one that was stopped can go on.

The folder holds what was asked, one line for every frame whose files are in their place, and whatever is being
written at the moment. Where sinks put frames together, a mark follows once what they made of the lines before it is
safe; what comes after the last mark is done again. The folder goes when the manifest is written.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from typing import TYPE_CHECKING, Any

import msgspec

from layerscope.errors import OutputError, OutputExistsError, RunFolderError
from layerscope.sinks.folders import claim, remove_files
from layerscope.sinks.manifest import FILE_NAME, FrameRecord
from layerscope.sinks.manifest_file import encode_frame, manifest_text
from layerscope.sinks.run_folder import frame_paths, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from layerscope.sinks.manifest import Manifest

__all__ = ["FOLDER", "Journal", "begin", "finished"]

FOLDER = ".layerscope-run"
ASKED, FRAMES = "asked.json", "frames.jsonl"
MARK = b"safe\n"


class Journal:
    """The frames of a run that are done, by their place among the inputs.

    Attributes:
        out: The run's folder.
        folder: The hidden folder, for what is being written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out / FOLDER
        self._places: dict[int, tuple[int, int]] = {}
        self._marked = 0
        self._path = self.folder / FRAMES
        self._read()

    def _read(self) -> None:
        """Find the lines of an earlier start; one that was cut off is taken away."""
        end = 0
        if self._path.exists():
            with self._path.open("rb") as stream:
                for line in stream:
                    if not line.endswith(b"\n"):
                        break
                    if line == MARK:
                        self._marked = len(self._places)
                        end += len(line)
                        continue
                    index, _, frame = line.partition(b" ")
                    self._places[int(index)] = end + len(index) + 1, len(frame) - 1
                    end += len(line)
        self._stream = self._path.open("ab")
        self._stream.truncate(end)

    def __contains__(self, index: object) -> bool:
        return index in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, index: int, frame: FrameRecord) -> None:
        """Note that a frame is done: all of its files are in their place."""
        text = encode_frame(frame)
        begin = self._stream.seek(0, os.SEEK_END)
        prefix = b"%d " % index
        self._stream.write(prefix + text + b"\n")
        self._stream.flush()
        self._places[index] = begin + len(prefix), len(text)

    def mark(self) -> None:
        """Note that everything that was put together of the frames so far is safe."""
        self._stream.write(MARK)
        self._stream.flush()
        self._marked = len(self._places)

    def forget_unmarked(self) -> None:
        """Take the frames after the last mark as not done."""
        for index in list(self._places)[self._marked :]:
            del self._places[index]
        ends = [begin + length + 1 for begin, length in self._places.values()]
        self._stream.truncate(max(ends, default=0))
        self.mark()

    @property
    def marked(self) -> int:
        """How many frames stand before the last mark."""
        return self._marked

    def records(self) -> Iterator[FrameRecord]:
        """Yield the records of the frames in the order of the inputs."""
        return (msgspec.json.decode(text, type=FrameRecord) for text in self.frames())

    def frames(self) -> Iterator[bytes]:
        """Yield the records of the frames in the order of the inputs."""
        with self._path.open("rb") as stream:
            for index in sorted(self._places):
                begin, length = self._places[index]
                stream.seek(begin)
                yield stream.read(length)

    def finish(self, head: Manifest) -> None:
        """Write the manifest once everything else is on the disk; with that the run is finished."""
        _sync(self.out)
        staged = self.folder / FILE_NAME
        with staged.open("wb") as stream:
            stream.writelines(manifest_text(head, self.frames()))
            stream.flush()
            os.fsync(stream.fileno())
        self.close()
        staged.replace(self.out / FILE_NAME)
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()


@contextlib.contextmanager
def begin(
    out: Path, asked: dict[str, Any], *, overwrite: bool, resume: bool, together: bool = False
) -> Iterator[Journal]:
    """Make a run's folder ready, or refuse before any work is done.

    Where the body fails, what is done stays for ``resume``; where nothing is, no trace stays.

    Args:
        out: The run's folder.
        asked: Everything that a run's files depend on, for JSON.
        overwrite: Replace a run that it holds, finished or stopped.
        resume: Go on with a stopped one, if it was asked the same.
        together: Whether frames are put together too, so that only those before a mark are done.

    Raises:
        OutputExistsError: It holds something else.
        OutputError: It cannot be written.
    """
    was_there = out.exists()
    text = msgspec.json.format(msgspec.json.encode(asked, order="sorted"))
    try:
        stopped = (out / FOLDER / ASKED).exists()
        if stopped and resume:
            _refuse_other(out, text)
        elif stopped and overwrite:
            _remove_stopped(out)
            claim(out, overwrite=overwrite)
        elif stopped:
            raise OutputExistsError(f"{out} holds a run that was stopped; go on with --resume, or say --overwrite")
        else:
            claim(out, overwrite=overwrite)
        folder = out / FOLDER
        if not stopped or not resume:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            (folder / f"{ASKED}.part").write_bytes(text)
            (folder / f"{ASKED}.part").replace(folder / ASKED)
        journal = Journal(out)
        if together:
            journal.forget_unmarked()
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    try:
        yield journal
    except BaseException:
        journal.close()
        if not len(journal):
            shutil.rmtree(journal.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                if not was_there and not any(out.iterdir()):
                    out.rmdir()
        raise


def _refuse_other(out: Path, asked: bytes) -> None:
    """Refuse to go on with a run that was asked something else."""
    before = msgspec.json.decode((out / FOLDER / ASKED).read_bytes())
    now = msgspec.json.decode(asked)
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differ:
        raise OutputExistsError(
            f"{out} holds a stopped run of something else (other {', '.join(differ)}); say the same again to go on, "
            "or --overwrite"
        )


def _remove_stopped(out: Path) -> None:
    """Remove what a stopped run wrote, and nothing else."""
    journal = Journal(out)
    frames = list(journal.records())
    journal.close()
    remove_files(out, [path for frame in frames for path in frame_paths(out, frame)])
    shutil.rmtree(out / FOLDER)


def finished(out: Path, head: Manifest) -> bool:
    """Tell whether a folder holds the finished run that is asked for."""
    try:
        run = open_run(out)
    except RunFolderError:
        return False
    if run.head.asked != head.asked:
        return False
    shutil.rmtree(out / FOLDER, ignore_errors=True)  # it was stopped in the very last moment
    return True


def _sync(folder: Path) -> None:
    """Have everything that was written to a folder's file system on the disk."""
    descriptor = os.open(folder, os.O_RDONLY) if hasattr(os, "O_DIRECTORY") else None
    if descriptor is None:
        return  # elsewhere a folder cannot be opened, and files are written through when closed
    try:
        sync = getattr(ctypes.CDLL(None), "syncfs", None)
        if sync is None or sync(descriptor) != 0:
            os.sync()
    finally:
        os.close(descriptor)
