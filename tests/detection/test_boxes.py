"""Pictures to boxes: the references' own, and each box back to the channels and pixels that it comes from."""

from __future__ import annotations

import json
import math
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import layerscope as ls
from layerscope.detection import boxes as boxes_module
from layerscope.detection.boxes import boxes_from_heads, detect
from layerscope.errors import InputError, OptionError, SourceError
from layerscope.inputs import Frame
from layerscope.models.heads import Head
from layerscope.models.weights import WeightsReport

if TYPE_CHECKING:
    from pathlib import Path

TRAINED = ("yolo-fastest-1.1", "MobileNetV2-YOLOv3-Nano-voc")
REFERENCES = (
    *((name, picture) for name in TRAINED for picture in ("dog", "giraffe", "person")),
    ("yolo-fastest-1.1", "dog__letterbox"),
)
NOTHING = -30.0
"""A raw value whose logistic is about 0."""


@pytest.fixture(scope="module")
def trained(shared_data: Path) -> dict[str, ls.Network]:
    folder = shared_data / "darknet"
    return {
        name: ls.load(f"darknet:{folder / name}.cfg", weights=folder / f"{name}.weights", device="cpu")
        for name in TRAINED
    }


class Given(nn.Module):
    """Gives the same heads whatever comes."""

    def __init__(self, *raws: Tensor) -> None:
        super().__init__()
        self.raws = raws

    def forward(self, _x: Tensor) -> list[Tensor]:
        return [raw[None] for raw in self.raws]


def network(module: nn.Module, *heads: Head, size_hw: tuple[int, int], names: tuple[str, ...]) -> ls.Network:
    return ls.Network(
        source="made up",
        module=module,
        preparation=ls.Preparation(size_hw=size_hw),
        weights=WeightsReport(path=None, naming="random", taken=0, total=0, bn_eps=1e-5, seed=0),
        known_stages=(),
        names=names,
        heads=heads,
    )


def one_head(raw: Tensor, *, size_hw: tuple[int, int], stride: int = 32, classes: int = 1) -> ls.Network:
    head = Head(layer="head", stride=stride, anchors=((20.0, 12.0),), classes=classes)
    return network(Given(raw), head, size_hw=size_hw, names=tuple(f"thing {index}" for index in range(classes)))


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(("name", "reference"), REFERENCES)
def test_a_trained_network_finds_what_the_reference_finds(
    name: str, reference: str, trained: dict[str, ls.Network], shared_data: Path
) -> None:
    report = json.loads((shared_data / "reference" / f"{name}__{reference}.json").read_text())
    resize = report["preprocessing"]["resize"]
    assert resize == ("letterbox" if "letterbox" in reference else "stretch")
    found = ls.detect(trained[name], shared_data / "images" / report["image"], resize=resize)
    expected = report["detections"]
    assert len(expected) >= 3
    assert [(box.label, box.class_id) for box in found] == [(item["class"], item["class_id"]) for item in expected]
    for box, item in zip(found, expected, strict=True):
        assert box.score == pytest.approx(item["score"], abs=1e-3)
        assert box.xyxy == pytest.approx(item["box_xyxy"], abs=1)


def cfg_heads(path: Path) -> list[dict[str, str]]:
    """The options of the [yolo] sections, read without the project's own parser."""
    sections = re.split(r"^\[", path.read_text(), flags=re.MULTILINE)
    return [dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE)) for text in sections if text[:4] == "yolo"]


@pytest.mark.parametrize("size", [None, (256, 416)])
@pytest.mark.parametrize("name", TRAINED)
def test_each_box_can_be_computed_again_from_the_channels_that_it_names(
    name: str, size: tuple[int, int] | None, trained: dict[str, ls.Network], shared_data: Path
) -> None:
    net, picture = trained[name], shared_data / "images" / "dog.jpg"
    sections = cfg_heads(shared_data / "darknet" / f"{name}.cfg")
    x, _ = net.prepare(picture, size=size)
    with torch.no_grad(), ls.tap(net.module, [head.layer for head in net.heads]) as tape:
        net.module(x)
    found = detect(net, picture, score=0.002, size=size)
    assert len({box.scale for box in found}) == 2, "both heads are to have found something"
    for box in found:
        raw = tape[box.channels.layer][0].numpy()
        assert box.scale * raw.shape[1] == x.shape[2]
        assert box.scale * raw.shape[2] == x.shape[3]
        section = sections[[head.layer for head in net.heads].index(box.channels.layer)]
        anchors = np.array(section["anchors"].split(","), float).reshape(-1, 2)
        mask = [int(number) for number in section["mask"].split(",")]
        assert (box.anchor.width, box.anchor.height) == tuple(anchors[mask[box.anchor.index]])
        assert box.label == net.names[box.class_id]
        row, column = box.cell
        tx, ty, tw, th = (float(raw[channel, row, column]) for channel in box.channels.box)
        objectness, label = (raw[channel, row, column] for channel in (box.channels.objectness, box.channels.label))
        assert box.score == pytest.approx(logistic(objectness) * logistic(label), abs=1e-6)
        gain = float(section.get("scale_x_y", 1))
        centre_x = (column + logistic(tx) * gain - (gain - 1) / 2) * box.scale * 768 / x.shape[3]
        centre_y = (row + logistic(ty) * gain - (gain - 1) / 2) * box.scale * 576 / x.shape[2]
        half_w = box.anchor.width * math.exp(tw) / 2 * 768 / x.shape[3]
        half_h = box.anchor.height * math.exp(th) / 2 * 576 / x.shape[2]
        expected = (centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h)
        assert box.xyxy == pytest.approx(expected, abs=1e-3)
    assert found == sorted(found, key=lambda box: -box.score)


def laid(resize: str, frame_hw: tuple[int, int], input_hw: tuple[int, int]) -> tuple[list[float], list[int]]:
    """The oracle of where a frame lies in an input: scale and offset, down and across."""
    if resize == "stretch":
        return [new / old for new, old in zip(input_hw, frame_hw, strict=True)], [0, 0]
    ratios = [new / old for new, old in zip(input_hw, frame_hw, strict=True)]
    ratio = min(ratios) if resize == "letterbox" else max(ratios)
    sides = [int(side * ratio) for side in frame_hw]
    # The odd pixel is left, or cut, at the right and at the bottom.
    offsets = [int((new - side) / 2) for new, side in zip(input_hw, sides, strict=True)]
    return [side / old for side, old in zip(sides, frame_hw, strict=True)], offsets


@pytest.mark.parametrize("frame_hw", [(120, 200), (300, 90), (64, 64)])
@pytest.mark.parametrize("input_hw", [(96, 96), (64, 160)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_the_one_cell_that_fires_lands_on_its_pixel_of_the_frame(
    resize: str, input_hw: tuple[int, int], frame_hw: tuple[int, int]
) -> None:
    pixel_yx = (frame_hw[0] // 2 + 3, frame_hw[1] // 2 - 4)
    scales, offsets = laid(resize, frame_hw, input_hw)
    at = [(pixel + 0.5) * scale + offset for pixel, scale, offset in zip(pixel_yx, scales, offsets, strict=True)]
    cell = tuple(int(place // 16) for place in at)
    raw = torch.full((6, input_hw[0] // 16, input_hw[1] // 16), NOTHING, dtype=torch.float64)
    offset_y, offset_x = (logit(place / 16 - index) for place, index in zip(at, cell, strict=True))
    values = [offset_x, offset_y, 0, math.log(2), 9, 9]
    raw[:, cell[0], cell[1]] = torch.tensor(values, dtype=torch.float64)
    net = one_head(raw, size_hw=input_hw, stride=16)
    (box,) = detect(net, np.zeros((*frame_hw, 3), np.uint8), resize=resize)
    left, top, right, bottom = box.xyxy
    assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx((pixel_yx[1] + 0.5, pixel_yx[0] + 0.5), abs=1e-4)
    assert (right - left, bottom - top) == pytest.approx((20 / scales[1], 24 / scales[0]), rel=1e-5)
    assert (box.cell, box.scale) == (cell, 16)


class Brightness(nn.Module):
    """A detector of light: each cell of 8 x 8 pixels is as sure as it is bright."""

    def forward(self, x: Tensor) -> Tensor:
        light = nn.functional.max_pool2d(x.amax(1, keepdim=True), 8)
        still = torch.zeros_like(light)
        return torch.cat([still, still, still, still, 40 * (light - 0.5), still + 20], dim=1)


@pytest.mark.parametrize("frame_hw", [(120, 200), (230, 90)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
def test_a_box_lies_on_the_only_bright_spot(resize: str, frame_hw: tuple[int, int]) -> None:
    y, x = frame_hw[0] // 2 + 11, frame_hw[1] // 2 - 13
    pixels = np.zeros((*frame_hw, 3), np.uint8)
    pixels[y - 4 : y + 5, x - 4 : x + 5] = 255
    head = Head(layer="head", stride=8, anchors=((8.0, 8.0),), classes=1)
    net = network(Brightness(), head, size_hw=(96, 128), names=("light",))
    found = detect(net, pixels, resize=resize, iou=1.0, pad=0)
    scales, _ = laid(resize, frame_hw, (96, 128))
    assert found
    for box in found:  # each is a cell that holds some of the spot
        left, top, right, bottom = box.xyxy
        assert x - 4 - 8 / scales[1] < (left + right) / 2 < x + 5 + 8 / scales[1]
        assert y - 4 - 8 / scales[0] < (top + bottom) / 2 < y + 5 + 8 / scales[0]
    joint = [min(b.xyxy[0] for b in found), min(b.xyxy[1] for b in found)]
    joint += [max(b.xyxy[2] for b in found), max(b.xyxy[3] for b in found)]
    assert joint[0] <= x - 3
    assert joint[1] <= y - 3
    assert joint[2] >= x + 4
    assert joint[3] >= y + 4


def test_boxes_are_not_clipped_to_the_picture() -> None:
    raw = torch.full((6, 2, 2), NOTHING)
    raw[:, 0, 0] = torch.tensor([0, -9.0, 1.0, -1.0, 9, 9])
    raw[:, 1, 1] = torch.tensor([0, 9.0, 1.0, -1.0, 8, 9])
    net = one_head(raw, size_hw=(64, 64))
    first, second = detect(net, np.zeros((20, 40, 3), np.uint8), resize="letterbox")
    assert first.xyxy[0] < 0
    assert first.xyxy[3] < 0, "in the border above the picture"
    assert second.xyxy[1] > 20, "in the border below the picture"
    assert second.xyxy[2] > 40


@pytest.mark.parametrize("score", [0.1, 0.5])
@pytest.mark.parametrize("iou", [0.2, 0.7])
def test_score_and_iou_are_passed_on(tiny: ls.Network, photo: np.ndarray, score: float, iou: float) -> None:
    loose = detect(tiny, photo, score=0.1, iou=1.0)
    found = detect(tiny, photo, score=score, iou=iou)
    assert len(found) < len(loose)
    above = [box for box in loose if box.score > score]
    kept: list[ls.Box] = []
    for box in above:  # best first
        rivals = [other for other in kept if other.class_id == box.class_id]
        if all(overlap(box.xyxy, other.xyxy) <= iou for other in rivals):
            kept.append(box)
    assert found == kept


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    across, down = (min(one[axis + 2], other[axis + 2]) - max(one[axis], other[axis]) for axis in (0, 1))
    shared = max(across, 0) * max(down, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (area - shared)


def test_only_the_best_candidates_go_into_suppression(
    tiny: ls.Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = detect(tiny, photo, score=0, iou=1)
    assert len(every) == 16 * 16 * 2 * 2
    monkeypatch.setattr(boxes_module, "MOST_CANDIDATES", 7)
    assert detect(tiny, photo, score=0, iou=1) == every[:7]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 350.0, 705.0, 1e4])
@pytest.mark.parametrize("parts", [[0], [2], [2, 3], [3], [4], [5]])
def test_an_untrained_head_that_says_anything_gives_finite_boxes_and_no_warning(parts: list[int], value: float) -> None:
    raw = torch.full((7, 2, 2), 1.0)
    raw[parts, 0, :] = value
    found = detect(one_head(raw, size_hw=(64, 64), classes=2), np.zeros((5, 9, 3), np.uint8), score=0.1)
    assert {box.cell for box in found} >= {(1, 0), (1, 1)}
    assert all(math.isfinite(number) for box in found for number in (box.score, *box.xyxy))
    json.dumps([box.as_dict() for box in found], allow_nan=False)


def test_heads_of_half_precision_and_of_a_batch_are_read_like_any(tiny: ls.Network, photo: np.ndarray) -> None:
    x, placement = tiny.prepare(photo)
    raws = [raw[0].half() for raw in tiny.outputs(x)]
    halves = boxes_from_heads(tiny, raws, placement)
    assert halves == boxes_from_heads(tiny, [raw.float() for raw in raws], placement)
    batch = tiny.outputs(torch.cat([x * 0, x]))
    assert [b.cell for b in boxes_from_heads(tiny, [raw[1] for raw in batch], placement)] == [
        b.cell for b in detect(tiny, photo)
    ]


def test_boxes_of_several_heads_compete_and_know_their_own() -> None:
    coarse, fine = torch.full((7, 1, 1), NOTHING), torch.full((7, 2, 2), NOTHING)
    coarse[:, 0, 0] = torch.tensor([0, 0, 0, 0, 2.0, 9, NOTHING])  # the same place and size as the first fine one
    fine[:, 1, 1] = torch.tensor([-40.0, -40.0, 0, 0, 4.0, 9, NOTHING])
    fine[:, 0, 1] = torch.tensor([0, 0, 0, 0, 3.0, NOTHING, 9])
    heads = [
        Head(layer=name, stride=stride, anchors=((16.0, 16.0),), classes=2)
        for name, stride in (("coarse", 32), ("fine", 16))
    ]
    net = network(Given(coarse, fine), *heads, size_hw=(32, 32), names=("a", "b"))
    found = detect(net, np.zeros((32, 32, 3), np.uint8))
    assert [(box.label, box.scale, box.cell, box.channels.layer) for box in found] == [
        ("a", 16, (1, 1), "fine"),
        ("b", 16, (0, 1), "fine"),
    ]
    assert [box.scale for box in detect(net, np.zeros((32, 32, 3), np.uint8), iou=1.0)] == [16, 16, 32]


def test_a_box_says_what_it_is_in_words_and_in_plain_numbers(tiny: ls.Network, photo: np.ndarray) -> None:
    box = detect(tiny, photo)[0]
    said = json.loads(json.dumps(box.as_dict()))
    assert said["xyxy"] == pytest.approx(box.xyxy, abs=0.005)
    assert said["score"] == pytest.approx(box.score, abs=5e-6)
    assert (said["label"], said["class_id"], said["scale"], said["cell"]) == (
        box.label,
        box.class_id,
        box.scale,
        list(box.cell),
    )
    assert said["anchor"] == {"index": box.anchor.index, "width": box.anchor.width, "height": box.anchor.height}
    assert said["channels"]["layer"] == "6_convolutional"
    assert said["channels"]["label"] == box.anchor.index * 7 + 5 + box.class_id
    assert str(box).startswith(f"{box.label} {box.score:.2f} at (")
    assert f"stride 4, cell {box.cell}, anchor {box.anchor.index}" in str(box)


def test_labels_come_from_a_names_file(tiny_cfg: Path, tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "two.names").write_bytes(b"left shoe\r\nright shoe\r\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ls.LayerscopeWarning)
        net = ls.load(f"darknet:{tiny_cfg}", names=tmp_path / "two.names", device="cpu")
        assert {box.label for box in detect(net, photo)} == {"left shoe", "right shoe"}
        (tmp_path / "two.names").write_text("left shoe\n")
        with pytest.raises(OptionError, match=r"two\.names: names 1 classes, the network has 2"):
            ls.load(f"darknet:{tiny_cfg}", names=tmp_path / "two.names", device="cpu")


def test_a_file_an_array_an_image_and_a_frame_give_the_same_boxes(tiny: ls.Network, photo: np.ndarray) -> None:
    Image.fromarray(photo).save("photo.png")
    expected = detect(tiny, photo)
    assert expected
    for picture in ("photo.png", Image.fromarray(photo), Frame(name="any", pixels=photo)):
        assert detect(tiny, picture) == expected
    with pytest.raises(InputError):
        detect(tiny, "gone.png")


@pytest.mark.parametrize("option", ["score", "iou"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_thresholds_that_are_none_are_refused(tiny: ls.Network, photo: np.ndarray, option: str, value: float) -> None:
    with pytest.raises(OptionError, match=f"{option}: expected a number from 0 to 1"):
        detect(tiny, photo, **{option: value})


def test_a_network_without_heads_does_not_detect(photo: np.ndarray) -> None:
    with pytest.raises(SourceError, match="made up does not detect"):
        detect(network(nn.Identity(), size_hw=(32, 32), names=()), photo)
