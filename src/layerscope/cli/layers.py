"""``layerscope layers``: what a network is made of."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from layerscope.cli import options as o
from layerscope.cli.console import print_json, readable_errors

if TYPE_CHECKING:
    from layerscope.models.survey import Layer


@readable_errors
def layers(
    source: o.Source,
    weights: o.Weights = None,
    layer: o.Layers = None,
    size: o.Size = None,
    classes: o.Classes = None,
    arg: o.Arguments = None,
    partial: o.Partial = False,
    trust_pickle: o.TrustPickle = False,
    operations: Annotated[
        bool, typer.Option("--operations", help="List what forwards call between modules too: add, cat, relu, ...")
    ] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """List the layers of a network in the order in which they run.

    Columns: name, type, output shape, stride (input pixels per cell), receptive field (input pixels that one
    cell can see at most), parameters. A star marks the stages, the default selection of `run`.

    \b
    Examples:
      layerscope layers yolov3
      layerscope layers yolov3 -l convs --size 608
      layerscope layers darknet:yolov3-tiny.cfg --json
      layerscope layers demo --operations -l '*.add'
    """
    network = o.load_to_look_at(
        source,
        weights=weights,
        size=size,
        quiet=quiet,
        classes=classes,
        arguments=o.arguments(arg),
        partial=partial,
        trust_pickle=trust_pickle,
        device="cpu",
    )
    found = network.layers(operations=operations)
    if layer:
        from layerscope.hooks import select

        plan = select(layer, network.module, stages=network.stages)
        named = [(entry, *entry.name.partition(":")[::2]) for entry in found]
        found = tuple(entry for entry, name, ordinal in named if plan.wants(name, int(ordinal or 0)))
    if json:
        print_json([_as_json(entry, network.stages) for entry in found])
    else:
        _print_table(found, network.stages)


def _as_json(layer: Layer, stages: tuple[str, ...]) -> dict[str, object]:
    entry = dataclasses.asdict(layer)
    if layer.receptive_field is not None:
        entry["receptive_field"] = ["everything" if math.isinf(side) else int(side) for side in layer.receptive_field]
    return entry | {"stage": layer.name in stages}


def _print_table(layers: tuple[Layer, ...], stages: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    table.add_column("type", no_wrap=True)
    for column in ("shape", "stride", "receptive field", "parameters"):
        table.add_column(column, justify="right", no_wrap=True)
    for layer in layers:
        table.add_row(
            f"{layer.name} *" if layer.name in stages else layer.name,
            layer.type,
            "-" if layer.shape is None else "x".join(map(str, layer.shape)),
            _pair(layer.stride),
            _pair(layer.receptive_field),
            f"{layer.parameters:,}" if layer.parameters else "",
            style="bold" if layer.name in stages else None,
        )
    # A pipe has no width: nothing is cut off there.
    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(table)
    typer.echo(f"{len(layers)} layers; * marks the {len(stages)} stages")


def _pair(sides: tuple[float, float] | None) -> str:
    if sides is None:
        return "-"
    if math.inf in sides:
        return "everything"
    down, across = (int(side) for side in sides)
    return str(down) if down == across else f"{down}x{across}"
