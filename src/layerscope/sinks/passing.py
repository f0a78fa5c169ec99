"""Frames through a network together, and each one's files written when there is time."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from layerscope.errors import OutputError
from layerscope.hooks.capture import counts_items, items_of_batch, report_silent
from layerscope.hooks.feature_map import FeatureMap
from layerscope.hooks.tape import Heard, catch, final_name
from layerscope.models.survey import tensors_in
from layerscope.sinks.folders import layer_folders, move_into, staging
from layerscope.sinks.manifest import FrameRecord, PlacementRecord
from layerscope.sinks.sink import FrameSink, RunSink, Target
from layerscope.sinks.taken import take_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from layerscope.hooks.select import Plan
    from layerscope.inputs import Frame, Placement
    from layerscope.sinks.sink import Sink
    from layerscope.sinks.taken import Taken

T = TypeVar("T")

__all__ = ["Passed", "as_output_errors", "pass_batch", "write_frame"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A frame that has been through the network and waits to be written.

    Attributes:
        frame: The picture.
        placement: Where it lies in the network's input.
        outputs: Shapes of the network's outputs for it, its batch axis of one included.
        taken: Layers' final names to what is taken, in the order in which they ran.
        silent: Selected layers that gave nothing.
    """

    frame: Frame
    placement: Placement
    outputs: list[list[int]]
    taken: dict[str, Future[Taken]]
    silent: tuple[str, ...]


def pass_batch(
    module: nn.Module,
    x: Tensor,
    frames: Sequence[tuple[Frame, Placement]],
    *,
    plan: Plan,
    sinks: Sequence[Sink],
    scale: str,
    call: Callable[[nn.Module, Tensor], Any] | None = None,
    until: Mapping[str, int] | None = None,
    takers: Executor | None = None,
) -> list[Passed]:
    """Run a network once on some frames, taking from each layer what the sinks need.

    Args:
        module: The network, in the mode in which it is to run.
        x: (N, C, H, W) the frames as its input, on its device.
        frames: N frames and where each lies in ``x``.
        plan: Which layers.
        sinks: Where their maps go.
        scale: A scale's name.
        call: How the module is called with ``x``; None: with nothing else.
        until: End the forward as soon as each of these layers has run so many times; the shapes of the network's
            outputs are then not known.
        takers: Who takes, from copies of the layers, while the forward goes on; None: it waits for each taking.

    Raises:
        LayerError: A layer that was asked for by name gave nothing, or its output has no batch axis of N.
    """
    taken: list[tuple[Heard, list[Future[Taken]]]] = []
    submit = _at_once if takers is None else takers.submit

    def take(heard: Heard, tensor: Tensor) -> None:
        plain = tensor.detach().contiguous()  # channels-last is read several times more slowly, and several times
        if takers is not None and plain.data_ptr() == tensor.data_ptr():
            plain = plain.clone()
        items = items_of_batch(plain, len(frames), heard.path)
        maps = (
            FeatureMap(
                layer=heard.path,
                values=values,
                frame=frame,
                placement=placement,
                counts_items=counts_items(tensor, len(frames)),
            )
            for values, (frame, placement) in zip(items, frames, strict=True)
        )
        taken.append((heard, [submit(take_layer, feature_map, sinks, scale) for feature_map in maps]))

    output: Any = None
    with torch.no_grad(), catch(module, plan, take, until=until) as calls:
        output = module(x) if call is None else call(module, x)
    silent = plan.unheard({heard.layer for heard, _ in taken})
    report_silent(silent, plan, module, calls)
    shapes = [list(tensor.shape) for _, tensor in tensors_in("", output)]
    outputs = [[1, *shape[1:]] if shape[:1] == [len(frames)] else shape for shape in shapes]
    return [
        Passed(
            frame=frame,
            placement=placement,
            outputs=outputs,
            taken={final_name(heard, calls, plan): items[index] for heard, items in taken},
            silent=silent,
        )
        for index, (frame, placement) in enumerate(frames)
    ]


def _at_once(function: Callable[..., T], *arguments: Any) -> Future[T]:
    """Call a function here and now, as if another thread had."""
    done: Future[T] = Future()
    done.set_result(function(*arguments))
    return done


def write_frame(
    passed: Passed,
    out: Path,
    folder: str,
    encoders: Executor,
    *,
    sinks: Sequence[Sink],
    beside: Path | None = None,
    row: int | None = None,
) -> tuple[FrameRecord, dict[str, dict[str, Any]]]:
    """Write one frame's files beside their place and move them there when all are whole.

    Args:
        passed: The frame.
        out: The run's folder.
        folder: The frame's folder within it; ``.`` where it is the run's own.
        encoders: Who encodes and writes.
        sinks: Where its maps go.
        beside: Where to write first, on the same file system; None: in ``out``.
        row: The frame's place among the run's.

    Returns:
        Its record, and kinds to layers to what the sinks of the whole run are to be given.
    """
    taken = {layer: future.result() for layer, future in passed.taken.items()}
    folders = layer_folders(taken)
    gathering = {sink.kind for sink in sinks if isinstance(sink, RunSink)}
    picture = None
    with as_output_errors(out), staging(beside or out) as staged:
        started = {
            (layer, kind): encoders.submit(write, Target(folder=staged, layer=layer, layer_folder=folders[layer]))
            for layer, item in taken.items()
            for kind, write in item.writes.items()
        }
        _wait(started.values())
        paths: dict[str, dict[str, str]] = {layer: {} for layer in taken}
        pieces: dict[str, dict[str, Any]] = {kind: {} for kind in gathering}
        for (layer, kind), future in started.items():
            if kind in gathering:
                pieces[kind][layer] = future.result()
            else:
                paths[layer][kind] = future.result()
        for sink in sinks:
            if isinstance(sink, FrameSink):
                picture = sink.end_frame(staged, passed.frame) or picture
        move_into(staged, out / folder)
    placement = passed.placement
    record = FrameRecord(
        name=passed.frame.name,
        file=passed.frame.path.name if passed.frame.path else None,
        time_s=passed.frame.time_s,
        row=row,
        folder=folder,
        picture=picture,
        placement=PlacementRecord(
            frame_hw=placement.frame_hw,
            input_hw=placement.input_hw,
            scale_xy=placement.scale_xy,
            offset_xy=placement.offset_xy,
        ),
        outputs=passed.outputs,
        layers=[item.record(layer, paths[layer]) for layer, item in taken.items()],
        silent=list(passed.silent),
    )
    return record, pieces


def _wait(futures: Collection[Future[Any]]) -> None:
    """Wait until nothing is being written any more; after a first failure, what has not begun is dropped."""
    wait(futures, return_when=FIRST_EXCEPTION)
    if any(future.done() and future.exception() for future in futures):
        for future in futures:
            future.cancel()
        wait(futures)
        raise next(error for future in futures if not future.cancelled() and (error := future.exception()))


@contextmanager
def as_output_errors(out: Path) -> Iterator[None]:
    """Turn what the file system refuses into one readable error about the folder."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
