"""``layerscope detect``: boxes, drawn and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscope.cli import options as o
from layerscope.cli.console import frames_bar, print_failures, print_json, readable_errors


@readable_errors
def detect(
    source: o.Source,
    inputs: o.Inputs = None,
    weights: o.Weights = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to write.")] = Path("detections"),
    score: Annotated[float, typer.Option("--score", help="Leave out boxes that score no more, 0 to 1.")] = 0.25,
    iou: Annotated[
        float,
        typer.Option("--iou", help="Drop a box that overlaps a better one of its class by more, 0 to 1."),
    ] = 0.45,
    names: o.Names = None,
    overwrite: o.Overwrite = False,
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
    """Find things and draw their boxes.

    Each box says which scale, cell, anchor and head channels it came from.
    Writes FOLDER/NAME.png for each picture and FOLDER/boxes.json.

    \b
    Examples:
      layerscope detect yolov3 -w yolov3.weights dog.jpg
      layerscope detect darknet:voc.cfg -w voc.weights --names voc.names shots/ --score 0.5 --json
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
        names=names,
        device=device,
        **prepared,
    )
    from layerscope.detection.folder import detect_all
    from layerscope.inputs import MAX_PIXELS

    with frames_bar(quiet) as progress:
        found = detect_all(
            network,
            o.inputs(inputs),
            out=out,
            score=score,
            iou=iou,
            overwrite=overwrite,
            max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
            progress=progress,
        )
    if json:
        print_json(found.as_dict())
    elif not quiet:
        for name, boxes in found.boxes.items():
            typer.echo(f"{found.pictures[name]}: {len(boxes)} boxes")
            for box in boxes:
                typer.echo(f"  {box}")
    print_failures(found.failures)
