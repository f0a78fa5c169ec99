"""Pictures through a network into sinks: decoding ahead of the forward pass, writing behind it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from layerscope.errors import OptionError
from layerscope.hooks.capture import asks_for_stages, enough
from layerscope.hooks.select import Selection, select
from layerscope.inputs import MAX_PIXELS, Span, find_inputs
from layerscope.job import Job, Report, several_frames, work_through
from layerscope.models.fold import quicker
from layerscope.sinks.drawing import Drawing, preset_options
from layerscope.sinks.journal import begin, finished
from layerscope.sinks.manifest import FILE_NAME, Manifest, NetworkRecord, describe_run
from layerscope.sinks.run_folder import Run, open_run
from layerscope.sinks.sink import RunSink

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Unpack

    from layerscope.inputs import Input, InputSource, PreparationOptions
    from layerscope.models.network import Network

__all__ = ["RunStopped", "run"]

GPU_BATCH = 8
"""How many frames go together where a GPU computes them; a CPU gains nothing by it."""


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
    pack: str | None = None,
    view: str | Sequence[str] | None = None,
    fps: float | None = None,
    outputs: bool = True,
    fold: bool = True,
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
        write: Files of each frame's own: ``tiles``, ``sheets``, ``overlays``, ``reductions``, ``tensors``; and of all
            frames together: ``zarr``, ``video``, ``webp``, ``tensorboard``, ``html``. Tiles and sheets by default.
        scale: ``channel`` (the default), ``layer``, ``percentile``, ``symmetric`` or ``unit``.
        colormap: Any name that cmap knows; None: grey tiles, and for the rest what suits the scale.
        tile_format: ``jpg`` (the default), ``png`` or ``webp``.
        reduce: For overlays and reductions: ``mean`` (the default), ``max``, ``absmean``, ``l2``, ``std``
            or ``pca``.
        alpha: How much of an overlay's colour is laid on, 0 to 1.
        tensor_type: How ``tensors`` and ``zarr`` keep values: ``f32`` (the default), ``f16``, or ``q8`` (8 bits).
        pack: ``zip``: all tiles of a frame in one file.
        view: What ``video`` and ``webp`` show: ``sheets`` (the default), ``overlays``, ``reductions``, a channel's
            number, or several of these.
        fps: Frames a second in them where frames have no times of their own; 4 by default.
        outputs: Note the shapes of the network's outputs; False: stop each forward pass after the last of the layers.
        fold: Let several frames run through a quicker copy of the network, batch norms folded into convolutions, where
            no chosen layer can tell: maps then differ by less than 1e-4 of their largest value. False: never.
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
        "pack": pack,
        "view": ((view,) if isinstance(view, str) else tuple(view)) if view is not None else None,
        "fps": fps,
        **preparation,
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    drawing = Drawing(**{field.name: chosen.pop(field.name) for field in fields(Drawing) if field.name in chosen})
    drawn_by = drawing.sinks()
    prepared = net.prepared(**chosen)
    plan = select(layers, net.module, stages=net.stages if asks_for_stages(layers) else ())
    span = Span(every=every, start_s=start, count=frames)
    found = find_inputs(inputs, max_pixels=max_pixels, span=span)
    fold = fold and several_frames(found)
    together = _batch(batch, net)
    job = Job(
        net=net,
        module=net.module,
        plan=plan,
        until=None if outputs else enough(plan, net.calls(prepared.size_hw, operations=bool(plan.operations))),
        preparation=prepared,
        sinks=drawn_by,
        drawing=drawing,
        batch=together,
        threads=_threads(threads),
        report=progress or (lambda _progress: None),
    )
    head = describe_run(NetworkRecord.of(net), prepared, drawing, drawn_by, [], {})
    asked = _asked(head, drawing, job, found, span, outputs=outputs, fold=fold)
    head = msgspec.structs.replace(head, asked=hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest())
    out = Path(out)
    if resume and (out / FILE_NAME).exists() and finished(out, head):
        return open_run(out)
    of_run = any(isinstance(sink, RunSink) for sink in drawn_by)
    with begin(out, asked, overwrite=overwrite, resume=resume, together=of_run) as journal:
        try:
            if fold:
                job = dataclasses.replace(job, module=quicker(net, plan, prepared, batch=together))
            work_through(job, found, journal, head)
        except KeyboardInterrupt:
            raise RunStopped(journal.marked if of_run else len(journal)) from None
    return open_run(out)


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
    head: Manifest, drawing: Drawing, job: Job, found: Sequence[Input], span: Span, *, outputs: bool, fold: bool
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
        "fold": fold,
    }
