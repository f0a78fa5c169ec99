"""A source string to a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from layerscope.errors import OptionError, SourceError, nearest
from layerscope.inputs import Preparation, with_options
from layerscope.models.class_names import class_names, read_names
from layerscope.models.darknet import DarknetNetwork, read_config
from layerscope.models.darknet.shapes import check_size
from layerscope.models.darknet.weights import count_numbers
from layerscope.models.demo import DEMO_WEIGHTS, read_architecture
from layerscope.models.download import official_weights
from layerscope.models.naming import recognise
from layerscope.models.network import Network
from layerscope.models.weights import WeightsFile, WeightsOptions, open_weights, put_weights
from layerscope.models.yolov3 import Darknet53Classifier, YOLOv3

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Unpack

    from layerscope.inputs.options import PreparationOptions
    from layerscope.models.naming import Naming
    from layerscope.models.weights import WeightsReport

__all__ = ["SOURCES", "load"]

MOST_CLASSES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a source is asked to build.

    Attributes:
        source: The whole source string.
        argument: What stands behind its colon.
        file: The opened weights, if any.
        weights: How to take them.
        classes: Number of classes; None: what the weights say, else the source's own.
        size: Height and width of the input; None: the source's own.
    """

    source: str
    argument: str
    file: WeightsFile | None
    weights: WeightsOptions
    classes: int | None
    size: tuple[int, int] | None


def load(
    source: str,
    *,
    weights: str | Path | None = None,
    partial: bool = False,
    trust_pickle: bool = False,
    seed: int = 0,
    bn_eps: float | None = None,
    classes: int | None = None,
    names: str | Path | None = None,
    device: str = "auto",
    **preparation: Unpack[PreparationOptions],
) -> Network:
    """Load a network.

    Args:
        source: ``demo`` (a small trained detector that ships inside), ``yolov3``, ``darknet53`` or
            ``darknet:FILE.cfg``.
        weights: A weights file of any kind, or ``official`` for ``yolov3`` to download the authors'; None for
            seeded random ones, with a warning (``demo`` has its own).
        partial: Take what fits of weights that do not fit whole.
        trust_pickle: Unpickle weights that run code.
        seed: Of random weights.
        bn_eps: Batch norm epsilon; None: what the weights' own codebase uses.
        classes: Number of classes; None: what the weights say.
        names: A ``.names`` file with one class a line.
        device: ``cpu``, ``cuda``, ``mps``, ... or ``auto`` for the best there is.
        **preparation: ``size``, ``resize``, ``filter``, ``order``, ``range``, ``mean``, ``std``, ``pad``:
            replace parts of how the network prepares a picture.

    Raises:
        SourceError: The source names no network, or its file cannot be built.
        WeightsError: The weights cannot be read or do not fit.
        OptionError: An option is wrong.

    >>> load("demo").names[:3]
    ('disc', 'ring', 'square')
    """
    kind, _, argument = source.partition(":")
    build = SOURCES.get(kind)
    if build is None:
        raise SourceError(
            f"no network is called {source!r}; there are {', '.join(SOURCE_FORMS)}{nearest(kind, SOURCES)}"
        )
    if classes is not None and not 1 <= classes <= MOST_CLASSES:
        raise OptionError(f"classes: expected a number from 1 to {MOST_CLASSES}, got {classes}")
    if weights == "official":
        weights = official_weights(kind)
    request = Request(
        source=source,
        argument=argument,
        file=open_weights(weights, trust_pickle=trust_pickle) if weights is not None else None,
        weights=WeightsOptions(partial=partial, trust_pickle=trust_pickle, seed=seed, bn_eps=bn_eps),
        classes=classes,
        size=with_options(Preparation(), **preparation).size_hw if preparation.get("size") else None,
    )
    network = build(request)
    network.preparation = network.prepared(**preparation)
    if names is not None:
        network.names = read_names(names, len(network.names))
    network.module.to(pick_device(device))
    return network


def pick_device(name: str) -> torch.device:
    """Turn a device's name into the device; ``auto`` is the best that this machine has.

    Raises:
        OptionError: There is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"device {name!r} is not there ({str(error).splitlines()[0]})") from None
    return device


def _load_yolov3(request: Request) -> Network:
    _without_argument(request)
    with torch.device("meta"):
        probe = YOLOv3()
    classes, naming = (None, None) if request.file is None else _read_off(request.file, probe)
    with torch.device("meta"):
        module = YOLOv3(
            request.classes or classes or probe.classes,
            activation=naming.activation if naming else "leaky",
            square_sizes=bool(naming and naming.square_sizes),
        )
    report = put_weights(module, module.slots, request.file, network=request.source, options=request.weights)
    return _detector(request, module, report, class_names(module.classes))


def _read_off(file: WeightsFile, probe: YOLOv3) -> tuple[int | None, Naming | None]:
    """Tell from weights how many classes their heads have and whose naming they use, where it can be told."""
    if file.state is None:
        numbers = count_numbers(file.path)
        own = sum(tensor.numel() for tensor in probe.parameters())
        own += sum(tensor.numel() for name, tensor in probe.named_buffers() if "num_batches" not in name)
        per_class = 3 * sum(probe.get_parameter(f"{head.layer}.weight").shape[1] + 1 for head in probe.heads)
        classes, rest = divmod(numbers - own, per_class)
        return (probe.classes + classes if rest == 0 and probe.classes + classes > 0 else None), None
    match = recognise(file.state.keys(), tuple(probe.state_dict()), probe.slots)
    head = file.state.get(match.keys.get("head32.predict.bias", ""))
    known = head is not None and head.ndim == 1 and head.numel() % 3 == 0 and head.numel() >= 18
    return (head.numel() // 3 - 5 if head is not None and known else None), match.naming


def _load_demo(request: Request) -> Network:
    _without_argument(request)
    file = request.file or open_weights(DEMO_WEIGHTS)
    architecture = read_architecture(file.path) or read_architecture(DEMO_WEIGHTS)
    if architecture is None:
        raise SourceError(f"{DEMO_WEIGHTS}: is damaged; install Layerscope again")
    if request.classes not in (None, len(architecture.classes)):
        raise OptionError(f"classes: demo has {len(architecture.classes)}, as its weights say")
    with torch.device("meta"):
        module = architecture.build()
    report = put_weights(module, module.slots, file, network=request.source, options=request.weights)
    return _detector(request, module, report, architecture.classes)


def _detector(request: Request, module: YOLOv3, report: WeightsReport, names: tuple[str, ...]) -> Network:
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=(416, 416)),
        weights=report,
        stages=module.STAGES,
        names=names,
        heads=module.heads,
        check_size=_multiple_of_32,
    )


def _load_darknet53(request: Request) -> Network:
    _without_argument(request)
    with torch.device("meta"):
        module = Darknet53Classifier(request.classes or 1000)
    report = put_weights(module, module.slots, request.file, network=request.source, options=request.weights)
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=(256, 256), resize="crop"),
        weights=report,
        stages=module.STAGES,
        names=class_names(module.classes),
        check_size=_multiple_of_32,
    )


def _load_darknet(request: Request) -> Network:
    if not request.argument:
        raise SourceError("darknet: wants a configuration file, as in darknet:yolov3.cfg")
    config = read_config(Path(request.argument))
    with torch.device("meta"):
        module = DarknetNetwork(config, size_hw=request.size)
    report = put_weights(module, module.slots, request.file, network=request.source, options=request.weights)
    if request.classes is not None:
        raise OptionError("classes: a Darknet network has as many as its configuration says; change it there")
    outputs = max((head.classes for head in module.heads), default=module.shapes[-1][0])
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(
            size_hw=module.size_hw,
            resize="stretch" if module.heads else "crop",
        ),
        weights=report,
        stages=module.stages,
        names=class_names(outputs),
        heads=module.heads,
        check_size=lambda size_hw: check_size(config, size_hw),
    )


def _without_argument(request: Request) -> None:
    if request.argument:
        kind = request.source.partition(":")[0]
        raise SourceError(
            f"{kind} takes nothing after a colon, got {request.source!r}; "
            "a Darknet configuration is darknet:FILE.cfg, weights come by --weights"
        )


def _multiple_of_32(size_hw: tuple[int, int]) -> None:
    if size_hw[0] % 32 or size_hw[1] % 32:
        nearby = tuple(max(32, round(side / 32) * 32) for side in size_hw)
        raise OptionError(
            f"size {size_hw[0]}x{size_hw[1]}: height and width must be multiples of 32, such as {nearby[0]}x{nearby[1]}"
        )


SOURCES: dict[str, Callable[[Request], Network]] = {
    "demo": _load_demo,
    "yolov3": _load_yolov3,
    "darknet53": _load_darknet53,
    "darknet": _load_darknet,
}
SOURCE_FORMS = ("demo", "yolov3", "darknet53", "darknet:FILE.cfg")
