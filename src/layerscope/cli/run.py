"""``layerscope run``: pictures of what layers give."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscope.cli import options as o
from layerscope.cli.console import frames_bar, print_failures, print_json, readable_errors

if TYPE_CHECKING:
    from layerscope.sinks import Run


@readable_errors
def run(
    source: o.Source,
    inputs: o.Inputs = None,
    weights: o.Weights = None,
    layer: o.Layers = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to write.")] = Path("featuremap"),
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="classic: the well-known recipe, pixel for pixel (stretch to 416, BGR, 0-255, scale unit, JPEG).",
        ),
    ] = None,
    write: Annotated[
        str | None,
        typer.Option(
            "--write",
            metavar="KINDS",
            help="Of each frame tiles, sheets, overlays, reductions, tensors; of all together zarr (values), video, "
            "webp, tensorboard, html (a page). Several with commas. Default: tiles,sheets.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="NAME",
            help="channel, layer, percentile, symmetric (zero in the middle) or unit. Default: channel.",
        ),
    ] = None,
    colormap: Annotated[
        str | None,
        typer.Option(
            "--colormap",
            metavar="NAME",
            help="Any name that cmap knows, such as viridis.",
        ),
    ] = None,
    tile_format: Annotated[
        str | None,
        typer.Option("--tile-format", metavar="NAME", help="jpg, png or webp. Default: jpg."),
    ] = None,
    reduce: Annotated[
        str | None,
        typer.Option(
            "--reduce",
            metavar="NAME",
            help="For overlays and reductions: mean, max, absmean, l2, std or pca. Default: mean.",
        ),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha",
            metavar="SHARE",
            help="Strength of an overlay's colour, 0 to 1.",
        ),
    ] = None,
    tensor_type: Annotated[
        str | None,
        typer.Option("--tensor-type", metavar="NAME", help="How tensors and zarr keep values: f32 (default), f16, q8."),
    ] = None,
    pack: Annotated[
        str | None,
        typer.Option("--pack", metavar="zip", help="Put all tiles of a frame into one file."),
    ] = None,
    view: Annotated[
        str | None,
        typer.Option(
            "--view",
            metavar="NAMES",
            help="What video and webp show: sheets (the default), overlays, reductions, or a channel's number; several "
            "with commas.",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option("--fps", metavar="RATE", help="Their rate where frames have no times of their own. Default: 4."),
    ] = None,
    no_outputs: Annotated[
        bool,
        typer.Option("--no-outputs", help="Stop each forward pass after the last layer; its outputs are not noted."),
    ] = False,
    no_fold: Annotated[
        bool,
        typer.Option("--no-fold", help="Run several frames through the network as it is, not through a quicker copy."),
    ] = False,
    batch: o.Batch = None,
    threads: o.Threads = None,
    every: o.Every = 1,
    start: o.Start = 0.0,
    frames: o.Frames = None,
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    size: o.Size = None,
    resize: o.Resize = None,
    crop_share: o.CropShare = None,
    filter: o.Filter = None,  # noqa: A002 - the option's name
    order: o.Order = None,
    range: o.Range = None,  # noqa: A002 - the option's name
    mean: o.Mean = None,
    std: o.Std = None,
    pad: o.Pad = None,
    max_pixels: o.MaxPixels = None,
    partial: o.Partial = False,
    trust_pickle: o.TrustPickle = False,
    seed: o.Seed = 0,
    bn_eps: o.BnEps = None,
    classes: o.Classes = None,
    arg: o.Arguments = None,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    log: o.Log = None,  # noqa: ARG001 - for readable_errors
) -> None:
    """Write every channel of layers as pictures.

    Each layer's channels become tiles and one sheet of all of them; manifest.json has their numbers.
    One picture: files lie in FOLDER itself, as FOLDER/backbone_block1/out0.jpg. Several: each has its own
    folder within it.

    \b
    Examples:
      layerscope run yolov3 dog.jpg
      layerscope run yolov3 -w epoch100.pth --preset classic dog.jpg
      layerscope run yolov3 -w yolov3.weights -l 'neck.*' -l head32 --scale symmetric dog.jpg
      layerscope run darknet:yolov4-tiny.cfg -w yolov4-tiny.weights shots/ --write sheets,overlays -o out
      layerscope run demo clip.mp4 --every 5 --write sheets --resume
      layerscope run demo clip.mp4 -l '*.block*' --write video,html --view sheets,overlays
      layerscope run demo shots/ --write zarr --tensor-type f16
    """
    prepared = o.preparation(
        size=size,
        resize=resize,
        crop_share=crop_share,
        filter=filter,
        order=order,
        range=range,
        mean=mean,
        std=std,
        pad=pad,
    )
    network = o.load_network(
        source,
        weights=weights,
        partial=partial,
        trust_pickle=trust_pickle,
        seed=seed,
        bn_eps=bn_eps,
        classes=classes,
        arguments=o.arguments(arg),
        device=device,
        **({"size": prepared["size"]} if "size" in prepared else {}),
    )
    from layerscope.inputs import MAX_PIXELS
    from layerscope.pipeline import run as run_pictures

    begin = time.perf_counter()
    with frames_bar(quiet) as progress:
        result = run_pictures(
            network,
            o.inputs(inputs),
            out=out,
            layers=layer or "stages",
            preset=preset,
            write=o.names(write),
            scale=scale,
            colormap=colormap,
            tile_format=tile_format,
            reduce=reduce,
            alpha=alpha,
            tensor_type=tensor_type,
            pack=pack,
            view=o.names(view),
            fps=fps,
            outputs=not no_outputs,
            fold=not no_fold,
            batch=batch,
            threads=threads,
            every=every,
            start=start,
            frames=frames,
            overwrite=overwrite,
            resume=resume,
            max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
            progress=progress,
            **prepared,
        )
    if json:
        print_json(_as_json(result))
    elif not quiet:
        _print_summary(result, time.perf_counter() - begin)
    print_failures(result.failures)


def _as_json(result: Run) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "network": result.head.network.source,
        "weights": result.head.network.weights,
        "frames": [
            {
                "name": frame.name,
                "folder": frame.folder,
                "outputs": frame.outputs,
                "layers": [
                    {
                        "layer": layer.layer,
                        "shape": layer.shape,
                        "min": layer.min,
                        "max": layer.max,
                        "tiles": layer.tiles,
                        "files": layer.files,
                    }
                    for layer in frame.layers
                ],
            }
            for frame in (item.record for item in result.values())
        ],
        "failures": result.failures,
    }


def _print_summary(result: Run, seconds: float) -> None:
    from layerscope.sinks.run_folder import count_files

    first = [frame.record for frame in itertools.islice(result.values(), 3)]
    height, width = first[0].placement.input_hw
    typer.echo(f"{result.head.network.source}, input {height}x{width}, {result.head.network.weights}")
    for frame in first:
        typer.echo(f"{frame.file or frame.name}")
        typer.echo("  outputs " + " ".join(str(tuple(shape)) for shape in frame.outputs))
        longest = max((len(layer.layer) for layer in frame.layers), default=0)
        for layer in frame.layers:
            shape = " x ".join(str(side) for side in layer.shape)
            values = f"{layer.min:.4g} to {layer.max:.4g}" if layer.min is not None else "no finite value"
            typer.echo(f"  {layer.layer:{longest}}  {shape:>16}  {values}")
    if len(result) > 3:
        typer.echo(f"and {len(result) - 3} more pictures")
    files = sum(count_files(frame.record) for frame in result.values())
    typer.echo(f"{files} files in {result.folder}/, {seconds:.1f} s")
