"""The command line: each command parses, makes one public call, and prints."""

from __future__ import annotations

from typing import Annotated

import typer

from layerscope.cli.check import check
from layerscope.cli.detect import detect
from layerscope.cli.layers import layers
from layerscope.cli.run import run
from layerscope.cli.timeline import timeline

__all__ = ["app"]

app = typer.Typer(
    name="layerscope",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the coloured panels would double the time of --help
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run)
app.command()(layers)
app.command()(detect)
app.command()(check)
app.command()(timeline)


def _version(wanted: bool) -> None:
    if wanted:
        from layerscope import __version__

        typer.echo(f"layerscope {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Shows what a vision network sees: every channel of any layer, as pictures and numbers.

    \b
    SOURCE names a network:
      demo                a small trained detector that ships inside
      yolov3              Darknet53 with YOLOv3's neck and heads
      darknet53           the backbone as ImageNet classifier
      darknet:FILE.cfg    any Darknet configuration
      FILE.py:NAME        your own module, or the function that builds it; also package.module:NAME
    \b
    Try:
      layerscope run demo
      layerscope detect demo
      layerscope run yolov3 dog.jpg
      layerscope run yolov3 -w yolov3.weights -l 'backbone.block3*' --scale symmetric dog.jpg
      layerscope run darknet:yolov4-tiny.cfg -w yolov4-tiny.weights pictures/ --write sheets,overlays
      layerscope detect yolov3 -w yolov3.weights dog.jpg
      layerscope layers yolov3
      layerscope check net.py:build
    """
