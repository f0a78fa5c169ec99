"""The networks that Layerscope builds itself: YOLOv3, Darknet53, the demo, and what a Darknet cfg describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from layerscope.errors import OptionError, SourceError
from layerscope.inputs import Preparation
from layerscope.models.class_names import class_names
from layerscope.models.darknet import DarknetNetwork, read_config
from layerscope.models.darknet.shapes import check_size
from layerscope.models.darknet.weights import count_numbers
from layerscope.models.demo import DEMO_WEIGHTS, read_architecture
from layerscope.models.naming import recognise
from layerscope.models.network import Network
from layerscope.models.weights import WeightsFile, open_weights, put_weights
from layerscope.models.yolov3 import Darknet53Classifier, YOLOv3

if TYPE_CHECKING:
    from layerscope.models.naming import Naming
    from layerscope.models.request import Request
    from layerscope.models.weights import WeightsReport

__all__ = ["load_darknet", "load_darknet53", "load_demo", "load_yolov3"]


def load_yolov3(request: Request) -> Network:
    """Load ``yolov3``."""
    request.refuse_argument()
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


def load_demo(request: Request) -> Network:
    """Load ``demo``."""
    request.refuse_argument()
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
        known_stages=module.STAGES,
        runs_once=True,
        names=names,
        heads=module.heads,
        check_size=_multiple_of_32,
    )


def load_darknet53(request: Request) -> Network:
    """Load ``darknet53``."""
    request.refuse_argument()
    with torch.device("meta"):
        module = Darknet53Classifier(request.classes or 1000)
    report = put_weights(module, module.slots, request.file, network=request.source, options=request.weights)
    return Network(
        source=request.source,
        module=module,
        preparation=Preparation(size_hw=(256, 256), resize="crop"),
        weights=report,
        known_stages=module.STAGES,
        runs_once=True,
        names=class_names(module.classes),
        check_size=_multiple_of_32,
    )


def load_darknet(request: Request) -> Network:
    """Load ``darknet:FILE.cfg``."""
    request.refuse_arguments()
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
        known_stages=module.stages,
        runs_once=True,
        names=class_names(outputs),
        heads=module.heads,
        check_size=lambda size_hw: check_size(config, size_hw),
    )


def _multiple_of_32(size_hw: tuple[int, int]) -> None:
    if size_hw[0] % 32 or size_hw[1] % 32:
        nearby = tuple(max(32, round(side / 32) * 32) for side in size_hw)
        raise OptionError(
            f"size {size_hw[0]}x{size_hw[1]}: height and width must be multiples of 32, such as {nearby[0]}x{nearby[1]}"
        )
