"""Boxes of many pictures, drawn and as JSON, in one folder."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscope.detection.boxes import Box, check_detector, detect
from layerscope.detection.draw import draw_boxes
from layerscope.errors import InputError, OutputError, OutputExistsError
from layerscope.inputs import MAX_PIXELS, find_inputs
from layerscope.job import Progress, Report, nothing_readable
from layerscope.sinks.folders import move_into, staging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Unpack

    from layerscope.inputs import InputSource, PreparationOptions
    from layerscope.models.network import Network

__all__ = ["Detections", "detect_all"]

BOXES_NAME = "boxes.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What ``detect_all`` found.

    Attributes:
        folder: Where the pictures and ``boxes.json`` are.
        boxes: Frame names to boxes, best first.
        pictures: Frame names to the drawn pictures.
        failures: Pictures that could not be read: name to reason.
    """

    folder: Path
    boxes: dict[str, list[Box]]
    pictures: dict[str, Path]
    failures: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain numbers and words, ready for JSON."""
        return {
            "frames": [
                {
                    "name": name,
                    "picture": self.pictures[name].name,
                    "boxes": [box.as_dict() for box in boxes],
                }
                for name, boxes in self.boxes.items()
            ],
            "failures": self.failures,
        }


def detect_all(
    net: Network,
    inputs: InputSource | Iterable[InputSource] | None = None,
    *,
    out: str | Path = "detections",
    score: float = 0.25,
    iou: float = 0.45,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Report | None = None,
    **preparation: Unpack[PreparationOptions],
) -> Detections:
    """Find things in pictures, draw them, and write them down.

    Args:
        net: A network that detects.
        inputs: As ``run`` takes them.
        out: The folder to write: ``<name>.png`` per picture and ``boxes.json``.
        score: Boxes below or at it are left out.
        iou: A box that overlaps a better one of its class by more is dropped.
        overwrite: Replace what the folder holds under these names.
        max_pixels: Refuse larger pictures.
        progress: Called after each picture, also one that cannot be read.
        **preparation: Replace parts of how the network prepares a picture.

    Raises:
        SourceError: The network does not detect.
        OutputError: The folder cannot be written, or holds something.
        InputError: No picture could be read.
    """
    check_detector(net, score, iou)
    net.prepared(**preparation)
    found = find_inputs(inputs, max_pixels=max_pixels)
    out = Path(out)
    result = Detections(folder=out, boxes={}, pictures={}, failures={})
    errors: dict[str, InputError] = {}
    with _folder(out, overwrite=overwrite), staging(out) as staged:
        for count, item in enumerate(found, start=1):
            try:
                frame = item.open()
            except InputError as error:
                errors[item.name] = error
                result.failures[item.name] = str(error)
            else:
                result.boxes[item.name] = detect(net, frame, score=score, iou=iou, **preparation)
                result.pictures[item.name] = out / f"{item.name}.png"
                draw_boxes(frame, result.boxes[item.name]).save(staged / f"{item.name}.png", compress_level=1)
            if progress is not None:
                progress(Progress(frames=count, of_frames=len(found), pictures=len(result.pictures)))
        if not result.boxes:
            raise nothing_readable(errors)
        text = json.dumps(result.as_dict(), indent=1)
        (staged / BOXES_NAME).write_text(text + "\n", encoding="utf-8")  # no picture's name: theirs end in .png
        move_into(staged, out)
    return result


@contextmanager
def _folder(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Have an empty folder while the body runs, or any with ``overwrite``; one made in vain goes again."""
    made = False
    try:
        try:
            out.mkdir(parents=True)
            made = True
        except FileExistsError:
            held = [entry.name for entry in out.iterdir() if not entry.name.startswith(".")]
            if held and not overwrite:
                raise OutputExistsError(
                    f"{out} is not empty ({held[0]}, ...); choose another folder (--out) or say --overwrite"
                ) from None
        yield
    except OSError as error:
        if isinstance(error, OutputError | InputError):
            raise
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        if made:
            with suppress(OSError):  # it stays where it holds something
                out.rmdir()
