"""Pictures through a network into sinks: one frame in the network while the one before is being written."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from layerscope.errors import InputError, OutputError
from layerscope.hooks.capture import item_of_batch, report_silent
from layerscope.hooks.feature_map import FeatureMap
from layerscope.hooks.select import Plan, Selection, select
from layerscope.hooks.tape import Heard, catch, final_name
from layerscope.inputs import MAX_PIXELS, find_inputs, prepare
from layerscope.models.survey import tensors_in
from layerscope.sinks.drawing import Drawing, preset_options
from layerscope.sinks.folders import claim, frame_folder, layer_folders, move_into, staging
from layerscope.sinks.manifest import FrameRecord, Manifest, PlacementRecord, describe_run, write_manifest
from layerscope.sinks.run_folder import Run, count_pictures, open_run
from layerscope.sinks.sink import Sink, Target
from layerscope.sinks.taken import Taken, take_layer

if TYPE_CHECKING:
    from typing import Unpack

    from layerscope.inputs import Frame, Input, InputSource, Placement, Preparation, PreparationOptions
    from layerscope.models.network import Network

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
        inputs: A picture, a folder, a glob, an array, an image, or several of these; None: the picture that the
            project brings along.
        out: The folder to write; it must be empty or absent.
        layers: Which layers, as ``capture`` takes them.
        preset: ``classic``: stretch to 416, BGR, 0 to 255, scale ``unit``, JPEG. Other options override it.
        write: ``tiles``, ``sheets``, ``overlays``, ``reductions``; tiles and sheets by default.
        scale: ``channel`` (the default), ``layer``, ``percentile``, ``symmetric`` or ``unit``.
        colormap: Any name that cmap knows; None: grey tiles, and for the rest what suits the scale.
        tile_format: ``jpg`` (the default), ``png`` or ``webp``.
        reduce: For overlays and reductions: ``mean`` (the default), ``max``, ``absmean``, ``l2``, ``std``
            or ``pca``.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
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
        manifest = describe_run(net, job.preparation, drawing, job.sinks, frames, failures)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passed:
    """A frame that has been through the network and waits to be written."""

    frame: Frame
    placement: Placement
    outputs: list[list[int]]
    taken: dict[str, Taken]
    silent: tuple[str, ...]


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
        pictures = sum(count_pictures(record) for record in done)
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


def _pass(job: _Job, frame: Frame) -> _Passed:
    """Run the network on one frame, taking from each layer what the sinks need."""
    x, placement = prepare(frame, job.preparation)
    taken: list[tuple[Heard, Taken]] = []

    def take(heard: Heard, tensor: Tensor) -> None:
        values = item_of_batch(tensor.detach())
        feature_map = FeatureMap(layer=heard.path, values=values, frame=frame, placement=placement)
        taken.append((heard, take_layer(feature_map, job.sinks, job.scale)))

    with torch.no_grad(), catch(job.net.module, job.plan, take) as calls:
        output = job.net.module(x.to(job.net.device))
    spoke = {heard.layer for heard, _ in taken}
    silent = tuple(layer for layer in job.plan.layers if layer not in spoke)
    report_silent(silent, job.plan, job.net, calls)
    return _Passed(
        frame=frame,
        placement=placement,
        outputs=[list(tensor.shape) for _, tensor in tensors_in("", output)],
        taken={final_name(heard, calls): item for heard, item in taken},
        silent=silent,
    )


@contextmanager
def _writer(out: Path, *, alone: bool) -> Iterator[Callable[[_Passed], Future[FrameRecord]]]:
    """Give a function that starts writing a frame and returns at once."""
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as encoders, ThreadPoolExecutor(1) as finisher:

        def start(passed: _Passed) -> Future[FrameRecord]:
            return finisher.submit(
                _write_frame, passed, out, "." if alone else frame_folder(passed.frame.name), encoders
            )

        yield start


def _write_frame(passed: _Passed, out: Path, folder: str, encoders: ThreadPoolExecutor) -> FrameRecord:
    """Write one frame's pictures beside their place and move them there when all are whole."""
    folders = layer_folders(passed.taken)
    with _as_output_errors(out), staging(out) as staged:
        started = {
            (layer, kind): encoders.submit(write, Target(folder=staged, layer=layer, layer_folder=folders[layer]))
            for layer, item in passed.taken.items()
            for kind, write in item.writes.items()
        }
        _wait(started.values())
        paths: dict[str, dict[str, str]] = {layer: {} for layer in passed.taken}
        for (layer, kind), future in started.items():
            paths[layer][kind] = future.result()
        move_into(staged, out / folder)
    placement = passed.placement
    return FrameRecord(
        name=passed.frame.name,
        file=passed.frame.path.name if passed.frame.path else None,
        folder=folder,
        placement=PlacementRecord(
            frame_hw=placement.frame_hw,
            input_hw=placement.input_hw,
            scale_xy=placement.scale_xy,
            offset_xy=placement.offset_xy,
        ),
        outputs=passed.outputs,
        layers=[item.record(layer, paths[layer]) for layer, item in passed.taken.items()],
        silent=list(passed.silent),
    )


def _wait(futures: Collection[Future[str]]) -> None:
    """Wait until nothing is being written any more; after a first failure, what has not begun is dropped."""
    wait(futures, return_when=FIRST_EXCEPTION)
    if any(future.done() and future.exception() for future in futures):
        for future in futures:
            future.cancel()
        wait(futures)
        raise next(error for future in futures if not future.cancelled() and (error := future.exception()))


def _place_manifest(manifest: Manifest, out: Path) -> None:
    with _as_output_errors(out), staging(out) as staged:
        write_manifest(manifest, staged)
        move_into(staged, out)


@contextmanager
def _as_output_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
