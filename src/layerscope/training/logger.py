"""Feature maps of a network while it trains, from any training loop."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from layerscope.errors import InputError, LayerscopeWarning, OptionError, OutputError, OutputExistsError
from layerscope.extras import require
from layerscope.hooks import Selection, select
from layerscope.hooks.capture import frame_of
from layerscope.inputs import Frame, InputSource, Placement, Preparation, find_inputs, prepare
from layerscope.models import Network
from layerscope.models.wrapped import unwrapped
from layerscope.sinks.drawing import Drawing
from layerscope.sinks.folders import frame_folder, staging
from layerscope.sinks.manifest import NetworkRecord, describe_run
from layerscope.sinks.manifest_file import write_manifest
from layerscope.sinks.passing import Passed, as_output_errors, pass_batch, write_frame
from layerscope.sinks.run_folder import Run, open_run
from layerscope.sinks.sink import RunSink
from layerscope.training.timeline import FILE_NAME, StepRecord, describe_timeline, open_timeline, write_timeline
from layerscope.training.undisturbed import undisturbed

if TYPE_CHECKING:
    from typing import Unpack

    from layerscope.inputs import PreparationOptions

__all__ = ["MapLogger"]

Every: TypeAlias = int | Callable[[int], bool]


class MapLogger:
    """Logs what layers of a network give for the same few pictures, again and again while it trains.

    Call ``step`` once per training step, anywhere in the loop::

        logger = MapLogger(model, frames=probe, layers="convs", every=100, out="timeline")
        for x, y in batches:
            ...
            optimizer.step()
            logger.step(loss=loss.item())

    Training is not changed: modes, gradients, batch norm's statistics and all random states are afterwards as
    they were, and steps that are not logged cost one comparison. A logged step costs one forward pass of the
    frames in evaluation mode, and the writing. Only the first process of a distributed training logs. A step
    that cannot be written (the disk is full) is a warning, not the end of the training.

    Args:
        network: A network from ``load``, or any module that takes one tensor.
        frames: Pictures for a network, as ``run`` takes them (None: the scenes that ship with Layerscope);
            for a module the tensor that it takes, (N, C, H, W), prepared by you.
        layers: Which layers; None: the stages of a network, all convolutions of a module.
        every: Log each step that this divides, or for which this function says so.
        out: The timeline's folder; None: keep no files, with ``tensorboard`` or ``wandb``.
        write: Which kinds of files each logged step has, as ``run`` takes them. ``tensors`` are what
            animations and strips are drawn from.
        scale: A scale's name, for the pictures.
        colormap: A colour map's name, for the pictures.
        tensor_type: How tensors are kept: ``f32``, ``f16`` or ``q8``.
        tensorboard: A ``SummaryWriter`` that each layer's sheet goes to.
        wandb: A Weights & Biases run that each layer's sheet goes to.
        overwrite: Begin anew where ``out`` holds a timeline.
        **preparation: Replace parts of how a network prepares a picture.

    Raises:
        OptionError: An option is wrong.
        InputError: A frame cannot be read, or is not what the network takes.
        UnknownLayerError: A layer is not in the network.
        OutputError: The folder cannot be written, or holds something.
    """

    def __init__(
        self,
        network: Network | nn.Module,
        *,
        frames: InputSource | Iterable[InputSource] | Tensor | None = None,
        layers: Selection | None = None,
        every: Every = 100,
        out: str | Path | None = "timeline",
        write: Sequence[str] = ("sheets", "tensors"),
        scale: str = "channel",
        colormap: str | None = None,
        tensor_type: str = "f16",
        tensorboard: Any = None,
        wandb: Any = None,
        overwrite: bool = False,
        **preparation: Unpack[PreparationOptions],
    ) -> None:
        if out is None and tensorboard is None and wandb is None:
            raise OptionError("out is None, and neither tensorboard nor wandb is given: nothing would be kept")
        if (tensorboard is not None or wandb is not None) and "sheets" not in write:
            raise OptionError("write: TensorBoard and Weights & Biases are sent sheets, and write names none")
        self.every = _checked(every)
        self._drawing = Drawing(write=tuple(write), scale=scale, colormap=colormap, tensor_type=tensor_type)
        self._sinks = self._drawing.sinks()
        if together := [sink.kind for sink in self._sinks if isinstance(sink, RunSink)]:
            raise OptionError(f"write: {', '.join(together)} put a whole run together; training is logged by steps")
        self._tensorboard, self._wandb = tensorboard, wandb
        self._preparation: Preparation | None = None
        self._call: Callable[[nn.Module, Tensor], Any] | None = None
        if isinstance(network, Network):
            self._module, stages = network.module, network.stages
            self._call = network.call
            self._preparation = network.prepared(**preparation)
            self._x, self._frames = _of_pictures(frames, self._preparation)
            self._record = NetworkRecord(source=network.source, weights="in training", weights_bytes=None, bn_eps=None)
        else:
            self._module, stages = unwrapped(network), ()
            self._x, self._frames = _of_tensor(frames)
            kind = type(self._module).__name__
            self._record = NetworkRecord(source=kind, weights="in training", weights_bytes=None, bn_eps=None)
        self._plan = select(layers or (["stages"] if stages else ["convs"]), self._module, stages=stages)
        self._steps: list[StepRecord] = []
        self._next = 0
        self.out = Path(out) if out is not None else None
        if self.out is not None and _is_first_process():
            _claim(self.out, overwrite=overwrite)

    def step(self, step: int | None = None, **numbers: float) -> bool:
        """Count a training step, and log it if it is its turn.

        Args:
            step: Its number; None: one more than the last, from 0.
            **numbers: What to note with it, such as ``loss=0.3``.

        Returns:
            Whether it was logged.
        """
        step = self._next if step is None else step
        self._next = step + 1
        wanted = step % self.every == 0 if isinstance(self.every, int) else self.every(step)
        return wanted and self.log(step, **numbers)

    def log(self, step: int, **numbers: float) -> bool:
        """Log a step whether or not it is its turn; one that is logged already is passed over.

        Raises:
            LayerError: A layer that was asked for by name gave nothing.
        """
        if not _is_first_process() or (self._steps and step <= self._steps[-1].step):
            return False
        x = self._x.to(next((tensor.device for tensor in self._module.parameters()), self._x.device))
        with undisturbed(self._module):
            passed = pass_batch(
                self._module,
                x,
                self._frames,
                plan=self._plan,
                sinks=self._sinks,
                scale=self._drawing.scale,
                call=self._call,
            )
        entry = StepRecord(
            step=step, folder=f"step{step:08}", numbers={name: float(value) for name, value in numbers.items()}
        )
        try:
            self._keep(passed, entry)
        except OutputError as error:
            warnings.warn(f"step {step} is not logged: {error}", LayerscopeWarning, stacklevel=3)
            return False
        return True

    def _keep(self, passed: list[Passed], entry: StepRecord) -> None:
        """Write a step's run, send its sheets on, and list it."""
        if self.out is None:
            with tempfile.TemporaryDirectory() as folder:
                self._send(self._write(passed, Path(folder), entry.folder), entry.step)
            self._steps.append(entry)
            return
        run = self._write(passed, self.out, entry.folder)
        self._send(run, entry.step)
        self._steps.append(entry)
        names = [frame.name for frame, _ in self._frames]
        with as_output_errors(self.out):
            write_timeline(describe_timeline(self._record.source, names, self._steps), self.out)

    def _write(self, passed: list[Passed], out: Path, folder: str) -> Run:
        """Write the run of one step, which appears only when it is whole."""
        workers = min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as encoders, as_output_errors(out), staging(out) as staged:
            alone = len(passed) == 1
            records = [
                write_frame(item, staged, "." if alone else frame_folder(item.frame.name), encoders, sinks=self._sinks)[
                    0
                ]
                for item in passed
            ]
            manifest = describe_run(self._record, self._preparation, self._drawing, self._sinks, records, {})
            write_manifest(manifest, staged)
            shutil.rmtree(out / folder, ignore_errors=True)  # of a step that was written but never listed
            staged.rename(out / folder)
        return open_run(out / folder)

    def _send(self, run: Run, step: int) -> None:
        """Send a step's sheets to TensorBoard and Weights & Biases."""
        for frame_name, layers in run.items() if self._tensorboard or self._wandb else ():
            sheets = {f"{layer}/{frame_name}": item.picture("sheets") for layer, item in layers.items()}
            if self._tensorboard is not None:
                for name, sheet in sheets.items():
                    self._tensorboard.add_image(name, np.asarray(sheet.convert("RGB")), step, dataformats="HWC")
            if self._wandb is not None:
                image = require("wandb", "wandb").Image
                # Not committed: the steps of the user's own log stay as they are.
                self._wandb.log({name: image(sheet) for name, sheet in sheets.items()}, commit=False)


def _checked(every: Every) -> Every:
    if isinstance(every, int) and every < 1:
        raise OptionError(f"every: expected a number of steps from 1, or a function of the step, got {every}")
    return every


def _is_first_process() -> bool:
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not ready or torch.distributed.get_rank() == 0


def _of_pictures(
    frames: InputSource | Iterable[InputSource] | Tensor | None, preparation: Preparation
) -> tuple[Tensor, list[tuple[Frame, Placement]]]:
    """Prepare pictures as one batch."""
    if isinstance(frames, Tensor):
        raise InputError("frames: a network prepares pictures itself; give it pictures, not a tensor")
    opened = [item.open() for item in find_inputs(frames)]
    prepared = [prepare(frame, preparation) for frame in opened]
    placed = [(frame, placement) for frame, (_, placement) in zip(opened, prepared, strict=True)]
    return torch.cat([x for x, _ in prepared]), placed


def _of_tensor(frames: object) -> tuple[Tensor, list[tuple[Frame, Placement]]]:
    """Take a module's own input; its frames' pictures are made of the numbers themselves."""
    if not isinstance(frames, Tensor) or frames.ndim != 4 or not len(frames):
        got = f"shape {tuple(frames.shape)}" if isinstance(frames, Tensor) else type(frames).__name__
        raise InputError(f"frames: a module of your own wants its input as a tensor (N, C, H, W), got {got}")
    placed = [frame_of(values, f"frame{index}") for index, values in enumerate(frames)]
    return frames.detach().clone(), placed


def _claim(out: Path, *, overwrite: bool) -> None:
    """Make the folder ready; a timeline that it holds is removed only with ``overwrite``."""
    with as_output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        if (out / FILE_NAME).exists() and overwrite:
            folders = [entry.folder for entry in open_timeline(out).record.steps]
            (out / FILE_NAME).unlink()
            for folder in folders:
                if re.fullmatch(r"step[0-9]+", folder):  # a file that points elsewhere does not get its way
                    shutil.rmtree(out / folder, ignore_errors=True)
        held = [entry.name for entry in out.iterdir() if not entry.name.startswith(".")]
        if FILE_NAME in held:
            raise OutputExistsError(f"{out} holds another timeline; choose another folder (out=) or say overwrite=True")
        if held and not overwrite:
            raise OutputExistsError(f"{out} is not empty and holds no timeline ({held[0]}, ...); choose another folder")
        with staging(out):
            pass
