"""How well the demonstration detector finds objects on scenes that it was never trained on.

    python training/measure_map.py --weights training/runs/demo.safetensors --scenes 500

Boxes come from ``layerscope.detect``, mean average precision from pycocotools.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

import layerscope
from demo_network import Architecture, load_demo
from layerscope.inputs import Preparation
from layerscope.models.network import Network
from layerscope.models.weights import WeightsReport
from scenes import FIRST_UNSEEN_SEED, SIDE_PX, scene

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from layerscope.models.yolov3 import YOLOv3

__all__ = ["Measured", "as_network", "measure"]

SIZES = ("all", "small", "medium", "large")  # in pycocotools' order; below 32², up to 96², above
LEAST_SCORE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Mean average precision, each from 0 to 1.

    Attributes:
        scenes: On how many scenes.
        first_seed: Seed of the first of them.
        objects: How many objects they hold.
        map50: At an IoU of 0.5.
        map50_95: Mean over IoU 0.5 to 0.95.
        by_class: Class to its value at 0.5.
        by_class_50_95: Class to its mean over 0.5 to 0.95.
        by_size: ``small``, ``medium``, ``large`` by COCO's areas to the value at 0.5.
    """

    scenes: int
    first_seed: int
    objects: int
    map50: float
    map50_95: float
    by_class: dict[str, float]
    by_class_50_95: dict[str, float]
    by_size: dict[str, float]

    def __str__(self) -> str:
        rows = [
            f"{self.scenes} scenes, {self.objects} objects",
            f"mAP@0.5 {self.map50:.4f}   mAP@0.5:0.95 {self.map50_95:.4f}",
            "by size @0.5: " + ", ".join(f"{size} {value:.4f}" for size, value in self.by_size.items()),
        ]
        rows += [f"{name:>10} {value:.4f}  {self.by_class_50_95[name]:.4f}" for name, value in self.by_class.items()]
        return "\n".join(rows)


def as_network(module: YOLOv3, architecture: Architecture) -> Network:
    """Make a trained module what ``layerscope.detect`` takes."""
    count = sum(1 for name in module.state_dict() if not name.endswith("num_batches_tracked"))
    return Network(
        source="demo",
        module=module.eval(),
        preparation=Preparation(size_hw=(SIDE_PX, SIDE_PX)),
        weights=WeightsReport(path=None, naming="layerscope", taken=count, total=count, bn_eps=1e-5, seed=None),
        known_stages=module.STAGES,
        names=architecture.classes,
        heads=module.heads,
    )


def measure(net: Network, scenes: int, *, first_seed: int = FIRST_UNSEEN_SEED, iou: float = 0.45) -> Measured:
    """Detect on scenes and compare with what is on them.

    Args:
        net: The detector.
        scenes: How many scenes.
        first_seed: Of the first one.
        iou: Suppression threshold, as ``layerscope.detect`` takes it.
    """
    truths, predictions = [], []
    seeds = range(first_seed, first_seed + scenes)
    for seed in seeds:
        one = scene(seed)
        found = layerscope.detect(net, one.pixels, score=LEAST_SCORE, iou=iou)
        truths += [_record(seed, item.class_id, item.box) for item in one.objects]
        predictions += [_record(seed, box.class_id, box.xyxy) | {"score": box.score} for box in found]
    precision = _precision(truths, predictions, seeds, classes=len(net.names))
    return Measured(
        scenes=scenes,
        first_seed=first_seed,
        objects=len(truths),
        map50=_mean(precision[0, :, :, 0]),
        map50_95=_mean(precision[:, :, :, 0]),
        by_class={name: _mean(precision[0, :, k, 0]) for k, name in enumerate(net.names)},
        by_class_50_95={name: _mean(precision[:, :, k, 0]) for k, name in enumerate(net.names)},
        by_size={size: _mean(precision[0, :, :, index]) for index, size in enumerate(SIZES) if size != "all"},
    )


def _record(seed: int, class_id: int, xyxy: tuple[float, ...]) -> dict[str, Any]:
    """Write a box the way COCO does."""
    left, top, right, bottom = xyxy
    width, height = right - left, bottom - top
    bbox = [left, top, width, height]
    return {"image_id": seed, "category_id": class_id + 1, "bbox": bbox, "area": width * height, "iscrowd": 0}


def _precision(
    truths: list[dict[str, Any]], predictions: list[dict[str, Any]], seeds: range, *, classes: int
) -> NDArray[np.float64]:
    """Let pycocotools compare: (10 IoU thresholds, 101 recalls, classes, sizes), -1 where nothing is to be found."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": seed} for seed in seeds],
            "categories": [{"id": number} for number in range(1, classes + 1)],
            "annotations": [{**record, "id": number} for number, record in enumerate(truths, start=1)],
        }
        truth.createIndex()
        found = COCO()
        found.dataset = {
            **truth.dataset,
            "annotations": [{**record, "id": number} for number, record in enumerate(predictions, start=1)],
        }
        found.createIndex()
        comparison = COCOeval(truth, found, "bbox")
        comparison.evaluate()
        comparison.accumulate()
    precision: NDArray[np.float64] = comparison.eval["precision"][..., -1]
    return precision


def _mean(precision: NDArray[np.float64]) -> float:
    """Average what is defined."""
    defined = precision[precision >= 0]
    return float(defined.mean()) if defined.size else float("nan")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of train_demo.py")
    parser.add_argument("--scenes", type=int, default=500, help="unseen scenes to measure on (default 500)")
    parser.add_argument("--first-seed", type=int, default=FIRST_UNSEEN_SEED, help="seed of the first scene")
    parser.add_argument("--json", type=Path, help="where to write the numbers (default: beside the weights)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measured = measure(as_network(*load_demo(options.weights)), options.scenes, first_seed=options.first_seed)
    print(measured)
    target = options.json or options.weights.with_suffix(".map.json")
    target.write_text(json.dumps(asdict(measured), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
