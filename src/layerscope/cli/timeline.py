"""``layerscope timeline``: how layers formed while a network trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerscope.cli import options as o
from layerscope.cli.console import print_json, readable_errors


@readable_errors
def timeline(
    folder: Annotated[Path, typer.Argument(help="What a MapLogger wrote.", metavar="FOLDER", show_default=False)],
    layer: Annotated[
        list[str] | None,
        typer.Option("-l", "--layer", metavar="NAME", help="A layer (repeat for more). Default: all that were logged."),
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option("-c", "--channel", metavar="N", help="Draw a strip of this channel over all steps (repeatable)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where to write. Default: animations in FOLDER."),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="KINDS", help="mp4, webp, or both with a comma; '' for strips only.")
    ] = "mp4,webp",
    frame: Annotated[
        str | None, typer.Option("--frame", metavar="NAME", help="Which probe frame. Default: the first.")
    ] = None,
    scale: Annotated[
        str, typer.Option("--scale", metavar="NAME", help="channel, layer, symmetric or unit.")
    ] = "channel",
    each_step: Annotated[
        bool, typer.Option("--each-step", help="Scale every step by its own values, not over the whole timeline.")
    ] = False,
    colormap: Annotated[
        str | None, typer.Option("--colormap", metavar="NAME", help="Any name that cmap knows, such as viridis.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", help="Steps shown a second.")] = 4,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Show how layers formed while a network trained.

    Each layer's sheet over the logged steps becomes a moving picture, and each channel asked for a strip:
    the same channel at every step, side by side.

    \b
    Examples:
      layerscope timeline timeline/
      layerscope timeline timeline/ -l backbone.block3 -c 0 -c 17 --format webp
    """
    from layerscope.sinks.folders import layer_folders
    from layerscope.training import open_timeline
    from layerscope.training.animation import animate, draw_strip

    opened = open_timeline(folder)
    out = opened.folder / "animations" if out is None else out
    kinds = [kind.strip() for kind in formats.split(",") if kind.strip()]
    written = animate(
        opened,
        out,
        layers=layer,
        frame=frame,
        formats=kinds,
        scale=scale,
        each_step=each_step,
        colormap=colormap,
        fps=fps,
    )
    for name, plain in layer_folders(written).items():
        for number in channel or []:
            strip = draw_strip(opened, name, number, frame=frame, scale=scale, each_step=each_step, colormap=colormap)
            written[name].append(out / f"{plain}-{number}.png")
            strip.save(written[name][-1])
    if json:
        print_json({name: [str(path) for path in paths] for name, paths in written.items()})
    elif not quiet:
        typer.echo(f"{len(opened)} steps of {opened.record.network}")
        for paths in written.values():
            for path in paths:
                typer.echo(f"  {path}")
