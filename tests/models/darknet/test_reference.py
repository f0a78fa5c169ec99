"""Trained networks on real pictures beside reference results that OpenCV computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from layerscope.models.darknet import read_config
from models.darknet.oracle import build, decoded_rows, our_outputs, relative_error

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-3
REFERENCES = (
    ("yolo-fastest-1.1", "dog"),
    ("yolo-fastest-1.1", "dog__letterbox"),
    ("yolo-fastest-1.1", "giraffe"),
    ("yolo-fastest-1.1", "person"),
    ("MobileNetV2-YOLOv3-Nano-voc", "dog"),
    ("MobileNetV2-YOLOv3-Nano-voc", "giraffe"),
    ("MobileNetV2-YOLOv3-Nano-voc", "person"),
)


@pytest.mark.parametrize(("name", "picture"), REFERENCES)
def test_a_trained_network_gives_the_reference_maps(name: str, picture: str, shared_data: Path) -> None:
    config = read_config(shared_data / "darknet" / f"{name}.cfg")
    net = build(config, shared_data / "darknet" / f"{name}.weights")
    with np.load(shared_data / "reference" / f"{name}__{picture}.npz") as arrays:
        reference = dict(arrays)
    pixels = reference.pop("input_uint8")
    seen, outputs = our_outputs(net, pixels.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255))

    heads = {f"head_{head.layer.split('_')[0]}": output for head, output in zip(net.heads, outputs, strict=True)}
    assert heads.keys() <= reference.keys()
    for key, expected in reference.items():
        kind, _, index = key.partition("_")
        if kind == "yolo":
            rows = decoded_rows(net, int(index), seen[int(index)])
            np.testing.assert_allclose(rows[:, :5], expected[:, :5], atol=1e-3, rtol=1e-3)
            continue
        mine = heads[key] if kind == "head" else seen[int(index)]
        # Some maps are kept as float16, whose own rounding is half a thousandth of each value at most.
        error = relative_error(mine, expected.astype(np.float32))
        assert error < TOLERANCE, (key, error)
