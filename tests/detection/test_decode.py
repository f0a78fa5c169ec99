"""Raw heads to candidates, beside a loop over cells that is written from the papers, and beside OpenCV."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.detection.decode import Candidates, decode_head
from layerscope.models.heads import Head

if TYPE_CHECKING:
    from pathlib import Path

ANCHORS = ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0))
HEADS = {
    "yolo": Head(layer="head", stride=8, anchors=ANCHORS, classes=3),
    "yolo with scale_x_y": Head(layer="head", stride=8, anchors=ANCHORS[:2], classes=2, scale_x_y=1.1),
    "yolo with new_coords": Head(
        layer="head", stride=16, anchors=ANCHORS, classes=2, scale_x_y=2.0, squashed=True, sizes="square"
    ),
    "yolo of later Ultralytics checkpoints": Head(
        layer="head", stride=16, anchors=ANCHORS, classes=2, scale_x_y=2.0, sizes="square"
    ),
    "region": Head(layer="head", stride=32, anchors=ANCHORS, classes=4, kind="region"),
    "one anchor and one class": Head(layer="head", stride=32, anchors=ANCHORS[1:2], classes=1),
}
Row = tuple[float, ...]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def read_cell(
    raw: np.ndarray, head: Head, input_hw: tuple[int, int], at: tuple[int, int, int]
) -> tuple[Row, float, list[float]]:
    """The oracle: corners, objectness and class probabilities that one anchor of one cell says.

    YOLOv3: b_x = s(t_x) + c_x, b_y = s(t_y) + c_y, b_w = p_w e^t_w, b_h = p_h e^t_h, each class a logistic.
    YOLO9000: the same, classes by a softmax. Darknet: the centre's logistic grows about its middle, and
    with new_coords everything is squashed already; there and in YOLOv5 sides are p (2 s(t))^2.
    """
    anchor, row, column = at
    _, height, width = raw.shape
    first = anchor * (5 + head.classes)
    tx, ty, tw, th, to, *tc = (float(raw[first + part, row, column]) for part in range(5 + head.classes))
    squash = (lambda value: value) if head.squashed else logistic
    centre_x = (column + (squash(tx) - 0.5) * head.scale_x_y + 0.5) * input_hw[1] / width
    centre_y = (row + (squash(ty) - 0.5) * head.scale_x_y + 0.5) * input_hw[0] / height
    prior_w, prior_h = head.anchors[anchor]
    if head.sizes == "square":
        w, h = prior_w * (2 * squash(tw)) ** 2, prior_h * (2 * squash(th)) ** 2
    else:
        w, h = prior_w * math.exp(tw), prior_h * math.exp(th)
    if head.kind == "region":
        powers = [math.exp(value) for value in tc]
        classes = [power / sum(powers) for power in powers]
    else:
        classes = [squash(value) for value in tc]
    return (centre_x - w / 2, centre_y - h / 2, centre_x + w / 2, centre_y + h / 2), squash(to), classes


def slow_decode(raw: np.ndarray, head: Head, input_hw: tuple[int, int], score: float) -> dict[tuple[int, ...], Row]:
    found = {}
    for anchor in range(len(head.anchors)):
        for row in range(raw.shape[1]):
            for column in range(raw.shape[2]):
                xyxy, objectness, classes = read_cell(raw, head, input_hw, (anchor, row, column))
                for number, probability in enumerate(classes):
                    if objectness * probability > score:
                        found[anchor, row, column, number] = (*xyxy, objectness * probability)
    return found


def as_rows(found: Candidates) -> dict[tuple[int, ...], Row]:
    rows = {}
    for index in range(len(found.score)):
        row, column = found.cell[index]
        key = (int(found.anchor[index]), int(row), int(column), int(found.class_id[index]))
        assert key not in rows, "each cell, anchor and class at most once"
        rows[key] = (*found.xyxy[index].tolist(), float(found.score[index]))
    return rows


def random_head(head: Head, cells_hw: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = (head.channels, *cells_hw)
    return rng.uniform(0, 1, shape) if head.squashed else rng.normal(0, 1.5, shape)


@pytest.mark.parametrize("cells_hw", [(3, 5), (5, 3), (1, 1)])
@pytest.mark.parametrize("score", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("kind", HEADS)
def test_candidates_are_those_of_a_loop_over_cells(kind: str, score: float, cells_hw: tuple[int, int]) -> None:
    head = HEADS[kind]
    raw = random_head(head, cells_hw, 1)
    input_hw = (cells_hw[0] * head.stride, cells_hw[1] * head.stride)
    found, expected = as_rows(decode_head(raw, head, input_hw, score)), slow_decode(raw, head, input_hw, score)
    assert found.keys() == expected.keys()
    assert score > 0 or len(found) == cells_hw[0] * cells_hw[1] * len(head.anchors) * head.classes
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    cells_hw=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    anchors=st.lists(st.tuples(st.floats(1, 400), st.floats(1, 400)), min_size=1, max_size=3),
    classes=st.integers(1, 3),
    stride=st.sampled_from([1, 8, 32]),
    kind=st.sampled_from(["yolo", "region"]),
    gain=st.floats(1, 2.5),
    score=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_any_head_is_read_as_the_loop_reads_it(
    cells_hw: tuple[int, int],
    anchors: list[tuple[float, float]],
    classes: int,
    stride: int,
    kind: str,
    gain: float,
    score: float,
    seed: int,
) -> None:
    head = Head(layer="h", stride=stride, anchors=tuple(anchors), classes=classes, kind=kind, scale_x_y=gain)  # type: ignore[arg-type]
    raw = random_head(head, cells_hw, seed)
    input_hw = (cells_hw[0] * stride, cells_hw[1] * stride)
    found, expected = as_rows(decode_head(raw, head, input_hw, score)), slow_decode(raw, head, input_hw, score)
    for key in found.keys() ^ expected.keys():  # only what lies on the threshold to the last bit may differ
        row = found.get(key) or expected[key]
        assert row[-1] == pytest.approx(score, abs=1e-12)
    for key in found.keys() & expected.keys():
        assert found[key] == pytest.approx(expected[key], rel=1e-9, abs=1e-9)


def test_a_score_at_the_threshold_is_left_out_and_one_above_it_is_not() -> None:
    head = HEADS["one anchor and one class"]
    raw = np.zeros((6, 1, 1))  # objectness and class are one half each
    assert len(decode_head(raw, head, (32, 32), 0.25).score) == 0
    assert decode_head(raw, head, (32, 32), 0.2499).score.tolist() == [0.25]


def test_the_first_channels_are_x_and_width_and_move_the_box_across() -> None:
    head = dataclasses.replace(HEADS["yolo"], anchors=((20.0, 40.0),), classes=1)
    raw = np.full((6, 2, 3), -50.0)
    raw[:, 1, 2] = [0.0, 0.0, math.log(2), 0.0, 50.0, 50.0]
    found = decode_head(raw, head, (16, 24), 0.5)
    # The middle of the cell is at x = 20, y = 12; the anchor's width is doubled.
    assert found.xyxy == pytest.approx(np.array([[0.0, -8.0, 40.0, 32.0]]))
    assert found.cell.tolist() == [[1, 2]]
    raw[0, 1, 2] = 50.0  # x to the cell's right edge
    assert decode_head(raw, head, (16, 24), 0.5).xyxy == pytest.approx(np.array([[4.0, -8.0, 44.0, 32.0]]))


def test_cells_that_are_no_squares_keep_their_own_width_and_height() -> None:
    head, raw = HEADS["yolo"], random_head(HEADS["yolo"], (2, 3), 5)
    found, expected = as_rows(decode_head(raw, head, (16, 96), 0.1)), slow_decode(raw, head, (16, 96), 0.1)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert found[key] == pytest.approx(row, rel=1e-9, abs=1e-9)


def test_a_head_of_half_precision_is_read_in_double() -> None:
    head = HEADS["yolo"]
    raw = random_head(head, (3, 4), 2).astype(np.float16)
    found = decode_head(raw, head, (24, 32), 0.1)
    assert found.xyxy.dtype == np.float64
    assert as_rows(found) == as_rows(decode_head(raw.astype(np.float64), head, (24, 32), 0.1))


@pytest.mark.parametrize("kind", ["yolo", "region"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e4, -1e4])
@pytest.mark.parametrize("part", range(7))
def test_numbers_beyond_all_bounds_never_warn_and_leave_the_other_cells_alone(
    kind: str, value: float, part: int
) -> None:
    head = Head(layer="h", stride=8, anchors=((8.0, 8.0),), classes=2, kind=kind)  # type: ignore[arg-type]
    raw = np.ones((7, 2, 2))
    plain = as_rows(decode_head(raw, head, (16, 16), 0.1))
    raw[part, 0, 1] = value
    found = as_rows(decode_head(raw, head, (16, 16), 0.1))
    others = {key: row for key, row in plain.items() if key[1:3] != (0, 1)}
    assert {key: row for key, row in found.items() if key[1:3] != (0, 1)} == others
    assert all(0.1 < row[-1] <= 1 for row in found.values())


def opencv_rows(head: Head, raw: np.ndarray, folder: Path) -> np.ndarray:
    """OpenCV's rows for a raw head: a network of one convolution that gives what it gets, and the head.

    Its cells are its pixels, so the anchors are those of a stride of 1.
    """
    channels, height, width = raw.shape
    anchors = ",".join(f"{w},{h}" for w, h in head.anchors)
    kind = "region" if head.kind == "region" else "yolo"
    extra = "softmax=1\ncoords=4" if kind == "region" else f"mask={','.join(map(str, range(len(head.anchors))))}"
    (folder / "net.cfg").write_text(
        f"[net]\nwidth={width}\nheight={height}\nchannels={channels}\n\n"
        f"[convolutional]\nfilters={channels}\nsize=1\nstride=1\nactivation=linear\n\n"
        f"[{kind}]\nanchors={anchors}\nnum={len(head.anchors)}\nclasses={head.classes}\n{extra}\n"
        f"scale_x_y={head.scale_x_y}\nnew_coords={int(head.squashed)}\n"
    )
    identity = np.concatenate([np.zeros(channels), np.eye(channels).ravel()]).astype("<f4")
    header = np.array([0, 2, 0, 0, 0], "<i4")
    (folder / "net.weights").write_bytes(header.tobytes() + identity.tobytes())
    net = cv2.dnn.readNetFromDarknet(str(folder / "net.cfg"), str(folder / "net.weights"))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setInput(raw[None].astype(np.float32))
    return net.forward("yolo_1" if kind == "yolo" else "detection_out").reshape(-1, 5 + head.classes)


# OpenCV reads Darknet's heads; square sizes go with squashed numbers there.
@pytest.mark.parametrize("kind", [kind for kind, head in HEADS.items() if head.squashed or head.sizes == "exp"])
def test_opencv_reads_the_same_boxes_from_a_rectangular_head(kind: str, tmp_path: Path) -> None:
    # Small anchors: OpenCV's region layer suppresses at once, so nothing may overlap.
    head = dataclasses.replace(HEADS[kind], stride=1, anchors=((0.2, 0.3), (0.4, 0.1))[: len(HEADS[kind].anchors)])
    height, width = 5, 7
    raw = random_head(head, (height, width), 3)
    raw[4 :: 5 + head.classes] += 0 if head.squashed else 2  # many cells that are sure of something
    rows = opencv_rows(head, raw, tmp_path).astype(np.float64).reshape(height, width, len(head.anchors), -1)
    found = decode_head(raw, head, (height, width), 0.3)
    assert len(found.score) == (rows[..., 5:] > 0.3).sum() > 5
    for index in range(len(found.score)):
        row, column = found.cell[index]
        theirs = rows[row, column, found.anchor[index]]
        left, top, right, bottom = found.xyxy[index]
        ours = [
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        ]
        assert ours == pytest.approx(theirs[:4].tolist(), abs=1e-5)
        assert found.score[index] == pytest.approx(theirs[5 + found.class_id[index]], abs=1e-5)
