"""Pictures through a network into sinks: one frame in the network while the one before is being written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from layerscope.errors import InputError
from layerscope.hooks.select import Plan, Selection, select
from layerscope.inputs import MAX_PIXELS, find_inputs, prepare
from layerscope.sinks.drawing import Drawing, preset_options
from layerscope.sinks.folders import claim, frame_folder, move_into, staging
from layerscope.sinks.manifest import FrameRecord, Manifest, NetworkRecord, describe_run, write_manifest
from layerscope.sinks.passing import Passed, as_output_errors, pass_batch, write_frame
from layerscope.sinks.run_folder import Run, count_files, open_run

if TYPE_CHECKING:
    from typing import Unpack

    from layerscope.inputs import Frame, Input, InputSource, Preparation, PreparationOptions
    from layerscope.models.network import Network
    from layerscope.sinks.sink import Sink

__all__ = ["Progress", "Report", "nothing_readable", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        frames: Pictures done, failed ones counted.
        of_frames: All of them.
        pictures: Files written.
    """

    frames: int
    of_frames: int
    pictures: int


Report: TypeAlias = Callable[[Progress], None]


def run(
    net: Network,
    inputs: InputSource | Iterable[InputSource] | None = None,
    *,
    out: str | Path = "featuremap",
    layers: Selection = "stages",
    preset: str | None = None,
    write: Sequence[str] | None = None,
    scale: str | None = None,
    colormap: str | None = None,
    tile_format: str | None = None,
    reduce: str | None = None,
    alpha: float | None = None,
    tensor_type: str | None = None,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Report | None = None,
    **preparation: Unpack[PreparationOptions],
) -> Run:
    """Write pictures of what layers give for pictures, and a manifest of their numbers.

    One picture: its files lie in ``out`` itself, ``out/backbone_block1/out0.jpg`` and so on. Several: each
    has a folder of its name within ``out``. A picture that cannot be read is named in the result's
    ``failures``; the others are done.

    Args:
        net: From ``load``.
        inputs: A picture, a folder, a glob, an array, an image, or several of these; None: the scenes
            that ship with Layerscope.
        out: The folder to write; it must be empty or absent.
        layers: Which layers, as ``capture`` takes them.
        preset: ``classic``: stretch to 416, BGR, 0 to 255, scale ``unit``, JPEG. Other options override it.
        write: ``tiles``, ``sheets``, ``overlays``, ``reductions``, ``tensors``; tiles and sheets by default.
        scale: ``channel`` (the default), ``layer``, ``percentile``, ``symmetric`` or ``unit``.
        colormap: Any name that cmap knows; None: grey tiles, and for the rest what suits the scale.
        tile_format: ``jpg`` (the default), ``png`` or ``webp``.
        reduce: For overlays and reductions: ``mean`` (the default), ``max``, ``absmean``, ``l2``, ``std``
            or ``pca``.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
        tensor_type: How ``tensors`` are kept: ``f32`` (the default), ``f16``, or ``q8`` (8 bits a value).
        overwrite: Replace a run that ``out`` holds.
        max_pixels: Refuse larger pictures.
        progress: Called after each picture.
        **preparation: Replace parts of how the network prepares a picture.

    Returns:
        The finished run.

    Raises:
        OptionError: An option is wrong.
        UnknownLayerError: A layer is not in the network.
        OutputError: The folder cannot be written, or holds something.
        InputError: No picture could be read.
    """
    chosen = preset_options(preset)
    given = {
        "write": tuple(write) if write is not None else None,
        "scale": scale,
        "colormap": colormap,
        "tile_format": tile_format,
        "reduce": reduce,
        "alpha": alpha,
        "tensor_type": tensor_type,
        **preparation,
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    drawing = Drawing(**{field.name: chosen.pop(field.name) for field in fields(Drawing) if field.name in chosen})
    job = _Job(
        net=net,
        plan=select(layers, net.module, stages=net.stages),
        preparation=net.prepared(**chosen),
        sinks=drawing.sinks(),
        scale=drawing.scale,
    )
    found = find_inputs(inputs, max_pixels=max_pixels)
    out = Path(out)
    was_there = out.exists()
    claim(out, overwrite=overwrite)
    try:
        frames, errors = _frames(job, found, out, progress or (lambda _progress: None))
        if not frames:
            raise nothing_readable(errors)
        failures = {name: str(error) for name, error in errors.items()}
        manifest = describe_run(NetworkRecord.of(net), job.preparation, drawing, job.sinks, frames, failures)
        _place_manifest(manifest, out)
    except BaseException:
        if not was_there and not any(out.iterdir()):
            out.rmdir()
        raise
    return open_run(out)


def nothing_readable(errors: Mapping[str, InputError]) -> InputError:
    """Phrase the error for a run none of whose pictures could be read; a single one keeps its own."""
    if len(errors) == 1:
        return next(iter(errors.values()))
    return InputError(f"none of {len(errors)} pictures could be read: {'; '.join(map(str, errors.values()))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What is the same for every frame."""

    net: Network
    plan: Plan
    preparation: Preparation
    sinks: Sequence[Sink]
    scale: str


def _frames(
    job: _Job, found: Sequence[Input], out: Path, report: Report
) -> tuple[list[FrameRecord], dict[str, InputError]]:
    """Take all frames through; return the records of the good ones and what is wrong with the bad ones."""
    done: list[FrameRecord] = []
    errors: dict[str, InputError] = {}
    waiting: list[Future[FrameRecord]] = []

    def finish() -> None:
        done.extend(future.result() for future in waiting)
        waiting.clear()
        pictures = sum(count_files(record) for record in done)
        report(Progress(frames=len(done) + len(errors), of_frames=len(found), pictures=pictures))

    with _writer(out, alone=len(found) == 1) as start:
        for item in found:
            try:
                frame = item.open()
            except InputError as error:
                errors[item.name] = error
                continue
            passed = _pass(job, frame)
            finish()
            waiting.append(start(passed))
        finish()
    return done, errors


def _pass(job: _Job, frame: Frame) -> Passed:
    x, placement = prepare(frame, job.preparation)
    net = job.net
    (passed,) = pass_batch(
        net.module,
        x.to(net.device),
        [(frame, placement)],
        plan=job.plan,
        sinks=job.sinks,
        scale=job.scale,
        call=net.call,
    )
    return passed


@contextmanager
def _writer(out: Path, *, alone: bool) -> Iterator[Callable[[Passed], Future[FrameRecord]]]:
    """Give a function that starts writing a frame and returns at once."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as encoders, ThreadPoolExecutor(1) as finisher:

        def start(passed: Passed) -> Future[FrameRecord]:
            return finisher.submit(
                write_frame, passed, out, "." if alone else frame_folder(passed.frame.name), encoders
            )

        yield start


def _place_manifest(manifest: Manifest, out: Path) -> None:
    with as_output_errors(out), staging(out) as staged:
        write_manifest(manifest, staged)
        move_into(staged, out)
