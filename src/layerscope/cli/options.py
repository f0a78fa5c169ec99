"""The options that commands share, each declared once."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from layerscope.models.network import Network

Source = Annotated[
    str,
    typer.Argument(
        help="The network: demo, yolov3, darknet53, darknet:FILE.cfg, or code of yours: FILE.py:NAME.",
        metavar="SOURCE",
        show_default=False,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        help="Pictures, videos, folders of them, patterns such as 'shots/*.png', camera:0, the address of a stream, "
        "or - for a list on stdin. Default: scenes that ship inside.",
        metavar="INPUT",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "-w",
        "--weights",
        metavar="FILE",
        help="Weights of any kind: .weights, a PyTorch checkpoint, safetensors; or 'official' to download "
        "yolov3's. Without: seeded random ones.",
    ),
]
Partial = Annotated[
    bool,
    typer.Option("--partial", help="Take what fits of weights that do not fit whole."),
]
TrustPickle = Annotated[
    bool,
    typer.Option(
        "--trust-pickle",
        help="Unpickle weights, modules and exported programs even if that runs code of their author.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of random weights.")]
BnEps = Annotated[
    float | None,
    typer.Option(
        "--bn-eps",
        metavar="NUMBER",
        help="Batch norm epsilon; by default what the weights' own codebase uses.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        metavar="N",
        help="Number of classes; by default what the weights say.",
    ),
]
Names = Annotated[
    Path | None,
    typer.Option("--names", metavar="FILE", help="Class names, one a line."),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="KEY=VALUE",
        help="A keyword for the function or class that builds the network (repeat for more).",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="cpu, cuda, mps, or auto for the best there is."),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "-l",
        "--layer",
        metavar="NAME",
        help="A layer (repeat for more): a name, a glob, a class name such as Conv2d, stages, convs or all. "
        "Default: stages. `layerscope layers SOURCE` lists them.",
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|HxW",
        help="Input size: 416, or height x width such as 288x352.",
    ),
]
Resize = Annotated[
    str | None,
    typer.Option("--resize", metavar="HOW", help="stretch, letterbox or crop."),
]
CropShare = Annotated[
    float | None,
    typer.Option("--crop-share", metavar="SHARE", help="Under --resize crop: how much is kept, such as 0.875."),
]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="NAME",
        help="Interpolation: bilinear (as OpenCV's, bit for bit), or an antialiased one.",
    ),
]
Order = Annotated[str | None, typer.Option("--order", metavar="ORDER", help="rgb or bgr.")]
Range = Annotated[
    str | None,
    typer.Option("--range", metavar="RANGE", help="Pixel values: 0-1 or 0-255."),
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", metavar="A,B,C", help="Subtracted per channel."),
]
Std = Annotated[
    str | None,
    typer.Option("--std", metavar="A,B,C", help="Divided by per channel."),
]
Pad = Annotated[
    int | None,
    typer.Option(
        "--pad",
        metavar="LEVEL",
        help="Grey of a letterbox's border, 0 to 255.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", metavar="N", help="Frames that go through the network together. Default: 1, on a GPU 8."),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", help="Threads that read, and that write. Default: as many as cores."),
]
Every = Annotated[int, typer.Option("--every", metavar="N", help="Of a video take one frame of so many,")]
Start = Annotated[float, typer.Option("--start", metavar="SECONDS", help="from this second on,")]
Frames = Annotated[int | None, typer.Option("--frames", metavar="COUNT", help="and at most so many.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", metavar="N", help="Refuse larger pictures."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what the output folder holds.")]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout, all else on stderr.")]
Log = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="Append what happens, with times and durations, to a file.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress, no summary, no warnings; errors only.")]


def preparation(
    *,
    size: str | None,
    resize: str | None,
    crop_share: float | None,
    filter: str | None,  # noqa: A002 - the option's name
    order: str | None,
    range: str | None,  # noqa: A002 - the option's name
    mean: str | None,
    std: str | None,
    pad: int | None,
) -> dict[str, Any]:
    """Turn the options of preparation as typed into keywords of the API; what was not typed is left out."""
    from layerscope.inputs import parse_size

    typed = {
        "size": parse_size(size) if size is not None else None,
        "resize": resize,
        "crop_share": crop_share,
        "filter": filter,
        "order": order,
        "range": range,
        "mean": _triple("mean", mean),
        "std": _triple("std", std),
        "pad": pad,
    }
    return {name: value for name, value in typed.items() if value is not None}


def names(typed: str | None) -> list[str] | None:
    """Read names with commas between them."""
    return [name.strip() for name in typed.split(",")] if typed is not None else None


def arguments(typed: list[str] | None) -> dict[str, Any]:
    """Read ``key=value`` as keywords; a value that is no Python literal is text."""
    import ast

    read: dict[str, Any] = {}
    for item in typed or []:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise typer.BadParameter(f"--arg: expected key=value such as depth=18, got {item!r}")
        try:
            read[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            read[key] = value
    return read


def inputs(typed: list[str] | None) -> list[str] | None:
    """Put the lines of stdin where ``-`` was typed."""
    import sys

    if typed is None or "-" not in typed:
        return typed
    listed = [line.rstrip("\r\n") for line in sys.stdin]
    return [name for item in typed for name in ([line for line in listed if line] if item == "-" else [item])]


def load_network(source: str, **options: Any) -> Network:
    """Load the network; the import of PyTorch waits until here."""
    with _imports_that_stay():
        from layerscope.models.sources import load
    return load(source, **options)


@contextmanager
def _imports_that_stay() -> Iterator[None]:
    """Look for no garbage while PyTorch is imported, nor ever again among its hundreds of thousands of objects."""
    if not gc.isenabled() or "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_to_look_at(source: str, *, weights: str | None, size: str | None, quiet: bool, **options: Any) -> Network:
    """Load a network for what does not depend on its weights, so that random ones are not worth a warning."""
    import warnings

    from layerscope.errors import LayerscopeWarning
    from layerscope.inputs import parse_size

    with warnings.catch_warnings():
        if weights is None or quiet:
            warnings.simplefilter("ignore", LayerscopeWarning)
        return load_network(source, weights=weights, size=parse_size(size) if size is not None else None, **options)


def _triple(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"--{option}: expected three numbers such as 0.485,0.456,0.406, got {text!r}"
        ) from None
