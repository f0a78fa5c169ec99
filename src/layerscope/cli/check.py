"""``layerscope check``: the promises of capture, tested on a network of yours."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerscope.cli import options as o
from layerscope.cli.console import print_json, readable_errors

if TYPE_CHECKING:
    from layerscope.validation import Check


@readable_errors
def check(
    source: o.Source,
    picture: Annotated[
        str | None, typer.Argument(help="A picture. Default: noise.", metavar="[INPUT]", show_default=False)
    ] = None,
    weights: o.Weights = None,
    size: o.Size = None,
    classes: o.Classes = None,
    arg: o.Arguments = None,
    partial: o.Partial = False,
    trust_pickle: o.TrustPickle = False,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Test on a network of yours that what is shown is true, and that looking changes nothing.

    Runs it with and without capture and compares: the outputs, bit by bit; every map with what an independent
    hook sees; hooks, modes and weights with what they were, also after an error; and the layers that gave nothing.
    Ends with exit code 1 if a promise is broken.

    \b
    Examples:
      layerscope check demo
      layerscope check net.py:build --arg depth=18 --size 224 photo.jpg
    """
    from layerscope.validation import check as check_network

    network = o.load_to_look_at(
        source,
        weights=weights,
        size=size,
        quiet=quiet,
        classes=classes,
        arguments=o.arguments(arg),
        partial=partial,
        trust_pickle=trust_pickle,
        seed=seed,
        device=device,
    )
    found = check_network(network, picture)
    if json:
        print_json(_as_json(found))
    elif not quiet:
        _print_table(found)
    if not found.passed:
        raise typer.Exit(1)


def _as_json(found: Check) -> dict[str, Any]:
    return {"passed": found.passed, **dataclasses.asdict(found)}


def _print_table(found: Check) -> None:
    longest = max(len(row.promise) for row in found.rows)
    typer.echo(f"{found.network}: {found.layers} layers, {found.maps} maps, {found.operations} operations")
    for row in found.rows:
        typer.echo(f"  {'kept  ' if row.kept else 'BROKEN'}  {row.promise:{longest}}  {row.detail}")
