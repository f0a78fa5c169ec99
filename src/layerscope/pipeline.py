"""Pictures through a network into sinks: decoding ahead of the forward pass, writing behind it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import torch

from layerscope.errors import InputError, OptionError
from layerscope.hooks.capture import asks_for_stages, enough
from layerscope.hooks.select import Plan, Selection, select
from layerscope.inputs import MAX_PIXELS, Span, find_inputs
from layerscope.reading import Read, in_groups, number_frames, read_ahead
from layerscope.sinks.drawing import Drawing, preset_options
from layerscope.sinks.folders import frame_folder
from layerscope.sinks.journal import Journal, begin, finished
from layerscope.sinks.manifest import FILE_NAME, Manifest, NetworkRecord, describe_run
from layerscope.sinks.passing import Passed, as_output_errors, pass_batch, write_frame
from layerscope.sinks.run_folder import Run, count_files, open_run

if TYPE_CHECKING:
    from typing import Unpack

    from layerscope.inputs import Input, InputSource, Preparation, PreparationOptions
    from layerscope.models.network import Network
    from layerscope.sinks.sink import Sink

__all__ = ["Progress", "Report", "RunStopped", "nothing_readable", "run"]

GPU_BATCH = 8
"""How many frames go together where a GPU computes them; a CPU gains nothing by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        frames: Frames done, failed ones and those of an earlier start counted.
        of_frames: All of them; None where videos have not told yet.
        pictures: Files written.
    """

    frames: int
    of_frames: int | None
    pictures: int


Report: TypeAlias = Callable[[Progress], None]


class RunStopped(KeyboardInterrupt):
    """Ctrl-C: what was begun is finished, and ``resume=True`` goes on.

    Attributes:
        done: How many frames are done.
    """

    def __init__(self, done: int) -> None:
        super().__init__(f"stopped after {done} frames")
        self.done = done


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
    outputs: bool = True,
    batch: int | None = None,
    threads: int | None = None,
    every: int = 1,
    start: float = 0.0,
    frames: int | None = None,
    overwrite: bool = False,
    resume: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Report | None = None,
    **preparation: Unpack[PreparationOptions],
) -> Run:
    """Write pictures of what layers give for pictures, and a manifest of their numbers.

    One picture: its files lie in ``out`` itself, ``out/backbone_block1/out0.jpg`` and so on. Several: each
    has a folder of its name within ``out``. A picture that cannot be read is named in the result's
    ``failures``; the others are done. Files appear under their names when they are whole; a run that was
    stopped, however, goes on with ``resume`` and ends as if it had not been.

    Args:
        net: From ``load``.
        inputs: A picture, a folder, a glob, a video, ``camera:0``, the address of a stream, an array, an image, or
            several of these; None: the scenes that ship with Layerscope.
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
        outputs: Note the shapes of the network's outputs; False: stop each forward pass after the last of the layers.
        batch: How many frames go through the network together; None: one by one, eight on a GPU.
        threads: How many threads decode, and how many encode; None: by the machine's cores.
        every: Of videos and the like take one frame of so many,
        start: from this second on,
        frames: and at most so many.
        overwrite: Replace a run that ``out`` holds.
        resume: Go on with a run that ``out`` holds and that was stopped.
        max_pixels: Refuse larger pictures.
        progress: Called after each batch.
        **preparation: Replace parts of how the network prepares a picture.

    Returns:
        The finished run.

    Raises:
        OptionError: An option is wrong.
        UnknownLayerError: A layer is not in the network.
        OutputError: The folder cannot be written, or holds something.
        InputError: No picture could be read.
        RunStopped: Ctrl-C.
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
    drawn_by = drawing.sinks()
    prepared = net.prepared(**chosen)
    plan = select(layers, net.module, stages=net.stages if asks_for_stages(layers) else ())
    job = _Job(
        net=net,
        plan=plan,
        until=None if outputs else enough(plan, net.calls(prepared.size_hw)),
        preparation=prepared,
        sinks=drawn_by,
        scale=drawing.scale,
        batch=_batch(batch, net),
        threads=_threads(threads),
        report=progress or (lambda _progress: None),
    )
    span = Span(every=every, start_s=start, count=frames)
    found = find_inputs(inputs, max_pixels=max_pixels, span=span)
    head = describe_run(NetworkRecord.of(net), prepared, drawing, drawn_by, [], {})
    asked = _asked(head, drawing, job, found, span, outputs=outputs)
    head = msgspec.structs.replace(head, asked=hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest())
    out = Path(out)
    if resume and (out / FILE_NAME).exists() and finished(out, head):
        return open_run(out)
    with begin(out, asked, overwrite=overwrite, resume=resume) as journal:
        try:
            errors = _take_through(job, found, journal)
        except KeyboardInterrupt:
            raise RunStopped(len(journal)) from None
        if not len(journal):
            raise nothing_readable(errors)
        with as_output_errors(out):
            journal.finish(replace_failures(head, errors))
    return open_run(out)


def replace_failures(head: Manifest, errors: Mapping[str, InputError]) -> Manifest:
    """Put the reasons of what could not be read into a manifest."""
    return msgspec.structs.replace(head, failures={name: str(error) for name, error in errors.items()})


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
    until: Mapping[str, int] | None
    preparation: Preparation
    sinks: Sequence[Sink]
    scale: str
    batch: int
    threads: int
    report: Report


def _batch(batch: int | None, net: Network) -> int:
    if batch is None:
        return 1 if net.device.type == "cpu" else GPU_BATCH
    if not 1 <= batch <= 4096:
        raise OptionError(f"batch: expected a number from 1 to 4096, got {batch}")
    return batch


def _threads(threads: int | None) -> int:
    if threads is None:
        return min(16, os.cpu_count() or 1)
    if not 1 <= threads <= 256:
        raise OptionError(f"threads: expected a number from 1 to 256, got {threads}")
    return threads


def _asked(
    head: Manifest, drawing: Drawing, job: _Job, found: Sequence[Input], span: Span, *, outputs: bool
) -> dict[str, object]:
    """List everything that a run's files depend on: with the same again they are the same."""
    names = "\n".join(item.name for item in found)
    calls = {**job.plan.layers, **job.plan.operations}
    return {
        "version": head.layerscope,
        "network": msgspec.to_builtins(head.network),
        "preparation": msgspec.to_builtins(head.preparation),
        "drawing": dataclasses.asdict(drawing),
        "layers": {name: sorted(wanted) if wanted is not None else None for name, wanted in calls.items()},
        "patterns": job.plan.patterns,
        "inputs": {"count": len(found), "sha256": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()},
        "span": dataclasses.asdict(span),
        "batch": job.batch,
        "outputs": outputs,
    }


def _take_through(job: _Job, found: Sequence[Input], journal: Journal) -> dict[str, InputError]:
    """Take all frames through that are not done; return what is wrong with those that could not be read."""
    errors: dict[str, InputError] = {}
    alone = len(found) == 1 and found[0].moments is None
    total = len(found) if all(item.moments is None for item in found) else None
    writing: deque[Future[int]] = deque()
    pictures = 0
    with ThreadPoolExecutor(job.threads) as encoders, ThreadPoolExecutor(1) as finisher:
        try:
            for group in in_groups(
                read_ahead(
                    number_frames(found, errors), job.preparation, journal, batch=job.batch, threads=job.threads
                ),
                job.batch,
            ):
                good = [read for read in group if not isinstance(read.prepared, InputError)]
                errors |= {read.name: read.prepared for read in group if isinstance(read.prepared, InputError)}
                if any(read.index not in journal for read in good):
                    passed = _pass(job, good)
                    while len(writing) > 1:
                        pictures += writing.popleft().result()
                    writing.append(finisher.submit(_write, passed, good, journal, encoders, alone))
                job.report(Progress(frames=len(journal) + len(errors), of_frames=total, pictures=pictures))
        finally:
            _settle(writing)
        pictures += sum(future.result() for future in writing)
    job.report(Progress(frames=len(journal) + len(errors), of_frames=total, pictures=pictures))
    return errors


def _settle(writing: Iterable[Future[int]]) -> None:
    """Let what is being written end, and drop what has not begun if something failed."""
    for future in writing:
        if not future.cancelled() and future.exception() is not None:
            for other in writing:
                other.cancel()
            return


def _pass(job: _Job, reads: Sequence[Read]) -> list[Passed]:
    prepared = [read.prepared for read in reads if not isinstance(read.prepared, InputError)]
    return pass_batch(
        job.net.module,
        torch.cat([x for _, x, _ in prepared]).to(job.net.device),
        [(frame, placement) for frame, _, placement in prepared],
        plan=job.plan,
        sinks=job.sinks,
        scale=job.scale,
        call=job.net.call,
        until=job.until,
    )


def _write(
    passed: Sequence[Passed], reads: Sequence[Read], journal: Journal, encoders: ThreadPoolExecutor, alone: bool
) -> int:
    """Write the frames of a group that are not done yet; return how many files that were."""
    files = 0
    for item, read in zip(passed, reads, strict=True):
        if read.index in journal:
            continue
        folder = "." if alone else frame_folder(item.frame.name)
        row = None if alone else len(journal)
        record = write_frame(item, journal.out, folder, encoders, beside=journal.folder, row=row)
        with as_output_errors(journal.out):
            journal.add(read.index, record)
        files += count_files(record)
    return files
