"""Every layer of every cfg beside OpenCV's reading of the same two files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.darknet.oracle import (
    decoded_rows,
    opencv_name,
    our_outputs,
    relative_error,
    seeded_pair,
)

if TYPE_CHECKING:
    from pathlib import Path

    import cv2

    from layerscope.models.darknet import DarknetNetwork

TOLERANCE = 1e-3
PUBLISHED = ("yolov3", "yolov3-tiny", "yolov3-spp", "yolov4", "yolov4-tiny", "darknet53")

YOLOV2_LIKE = """
[net]
height=32
width=48
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=8
size=3
pad=1
activation=swish

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=12
size=1
activation=leaky

[route]
layers=-3

[reorg]
stride=2

[route]
layers=-1,-3

[convolutional]
filters=21
size=1
activation=linear

[region]
anchors = 1.3221,1.73145, 3.19275,4.00944, 5.05587,8.09892
classes=2
coords=4
num=3
softmax=1
"""

EXCITED = """
[net]
height=24
width=16
channels=3

[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
pad=1
activation=mish

[convolutional]
batch_normalize=1
filters=12
groups=12
size=3
pad=1
activation=swish

[avgpool]

[convolutional]
filters=4
size=1
activation=swish

[convolutional]
filters=12
size=1
activation=logistic

[scale_channels]
from=-4

[convolutional]
batch_normalize=1
filters=12
size=1
activation=linear

[dropout]
probability=.2

[shortcut]
from=-8
activation=leaky

[upsample]
stride=3

[maxpool]
size=3
stride=1

[maxpool]
size=5
stride=2

[route]
layers=-1
groups=3
group_id=2
"""

CLASSIFIER = """
[net]
height=11
width=14
channels=3

[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[connected]
output=20
activation=leaky

[connected]
output=7
activation=linear

[softmax]

[cost]
type=sse
"""


def assert_every_layer_agrees(ours: DarknetNetwork, theirs: cv2.dnn.Net) -> None:
    shape = (1, 3, *ours.size_hw)
    x = np.random.default_rng(5).random(shape, dtype=np.float32)
    seen, outputs = our_outputs(ours, x)
    assert len(seen) == len(ours.config.sections)
    assert [output.shape for output in seen] == list(ours.shapes)

    known = set(theirs.getLayerNames())
    names = [opencv_name(ours, index, known) for index in range(len(seen))]
    # OpenCV has a layer for every section of these cfgs: none is left out of the comparison.
    assert None not in names
    theirs.setInput(x)
    expected = theirs.forward(names)
    for index, (section, mine, reference) in enumerate(zip(ours.config.sections, seen, expected, strict=True)):
        if section.kind in ("yolo", "region"):
            assert_rows_agree(decoded_rows(ours, index, mine), reference.reshape(-1, reference.shape[-1]))
        else:
            error = relative_error(mine.reshape(reference[0].shape), reference[0])
            assert error < TOLERANCE, (section.name, error)
    raw = [seen[int(head.layer.split("_")[0])] for head in ours.heads]
    for output, head in zip(outputs, raw or [seen[-1]], strict=True):
        np.testing.assert_array_equal(output, head)


def assert_rows_agree(mine: np.ndarray, reference: np.ndarray) -> None:
    np.testing.assert_allclose(mine[:, :2], reference[:, :2], atol=1e-4)
    np.testing.assert_allclose(mine[:, 2:4], reference[:, 2:4], rtol=TOLERANCE)
    np.testing.assert_allclose(mine[:, 4], reference[:, 4], atol=1e-4)
    # OpenCV sets to zero the classes below a threshold and those that lose to a neighbouring box.
    kept = reference[:, 5:] > 0
    assert kept.any()
    np.testing.assert_allclose(mine[:, 5:][kept], reference[:, 5:][kept], atol=1e-4)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_layer_of_a_published_cfg_agrees_with_opencv(name: str, shared_data: Path, tmp_path: Path) -> None:
    text = (shared_data / "cfg" / f"{name}.cfg").read_text()
    assert_every_layer_agrees(*seeded_pair(text, name, tmp_path, seed=3, size_hw=(96, 128)))


@pytest.mark.parametrize(
    ("name", "text"), [("yolov2-like", YOLOV2_LIKE), ("excited", EXCITED), ("classifier", CLASSIFIER)]
)
def test_every_layer_of_a_small_cfg_agrees_with_opencv(name: str, text: str, tmp_path: Path) -> None:
    assert_every_layer_agrees(*seeded_pair(text, name, tmp_path, seed=4))
