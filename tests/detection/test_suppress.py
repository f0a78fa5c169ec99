"""Suppression beside a loop over pairs, and beside OpenCV's."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.detection.suppress import iou, suppress


def exact_iou(one: np.ndarray, other: np.ndarray) -> Fraction:
    """The oracle, in fractions: shared area by joint area, 0 where there is none."""
    a, b = ([Fraction(float(value)) for value in box] for box in (one, other))
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(across, Fraction(0)) * max(down, Fraction(0))
    joint = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / joint if joint > 0 else Fraction(0)


def slow_suppress(xyxy: np.ndarray, score: np.ndarray, class_id: np.ndarray, threshold: float) -> list[int]:
    """The oracle: keep a box unless one that is kept already, of its class, overlaps it by more."""
    kept: list[int] = []
    for index in sorted(range(len(score)), key=lambda index: (-score[index], index)):
        rivals = [other for other in kept if class_id[other] == class_id[index]]
        if all(exact_iou(xyxy[other], xyxy[index]) <= Fraction(threshold) for other in rivals):
            kept.append(index)
    return kept


def random_boxes(seed: int, count: int, classes: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(5, 40, (count, 2))], axis=1)
    return xyxy, rng.permutation(np.linspace(0.3, 0.9, count)), rng.integers(0, classes, count)


corners = st.tuples(*[st.integers(0, 6)] * 4).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3]))
)
rows = st.lists(st.tuples(corners, st.sampled_from([0.3, 0.5, 0.9]), st.integers(0, 2)), max_size=12)


@settings(max_examples=200, deadline=None)
@given(rows=rows, threshold=st.sampled_from([0.0, 0.25, 0.45, 0.5, 1.0]))
def test_what_is_kept_is_what_a_loop_over_pairs_keeps(rows: list, threshold: float) -> None:
    xyxy = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    score, class_id = np.array([row[1] for row in rows]), np.array([row[2] for row in rows], np.int64)
    assert suppress(xyxy, score, class_id, threshold).tolist() == slow_suppress(xyxy, score, class_id, threshold)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 0.9])
def test_many_boxes_of_many_classes_are_kept_as_the_loop_keeps_them(classes: int, threshold: float) -> None:
    boxes = random_boxes(4, 60, classes)
    assert suppress(*boxes, threshold).tolist() == slow_suppress(*boxes, threshold)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.1, 0.45, 0.7])
def test_opencv_keeps_the_same_boxes_of_one_class(seed: int, threshold: float) -> None:
    xyxy, score, class_id = random_boxes(seed, 80)
    left_top_wh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    theirs = cv2.dnn.NMSBoxes(left_top_wh.tolist(), score.tolist(), 0.0, threshold)
    ours = suppress(xyxy, score, class_id, threshold)
    assert ours.tolist() == np.asarray(theirs).ravel().tolist()
    assert 1 < len(ours) < 80


def test_opencv_keeps_the_same_boxes_class_by_class() -> None:
    xyxy, score, class_id = random_boxes(9, 120, classes=3)
    left_top_wh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)
    theirs = cv2.dnn.NMSBoxesBatched(left_top_wh.tolist(), score.tolist(), class_id.tolist(), 0.0, 0.45)
    assert suppress(xyxy, score, class_id, 0.45).tolist() == np.asarray(theirs).ravel().tolist()


def test_equal_scores_stay_in_their_order() -> None:
    xyxy = np.array([[0.0, 0, 4, 4], [0, 0, 4, 4], [10, 10, 14, 14], [0, 0, 4, 4]])
    score, class_id = np.array([0.5, 0.5, 0.5, 0.5]), np.array([1, 0, 1, 1])
    assert suppress(xyxy, score, class_id, 0.45).tolist() == [0, 1, 2]


def test_an_overlap_at_the_threshold_stays_and_one_above_it_goes() -> None:
    pair = np.array([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # one half shared
    score, class_id = np.array([0.9, 0.8]), np.array([0, 0])
    assert suppress(pair, score, class_id, 0.5).tolist() == [0, 1]
    assert suppress(pair, score, class_id, 0.4999).tolist() == [0]


def test_at_zero_boxes_that_only_touch_stay_and_at_one_equal_ones_stay() -> None:
    touching = np.array([[0.0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 2, 2]])
    score, class_id = np.array([0.9, 0.8, 0.7]), np.zeros(3, np.int64)
    assert suppress(touching, score, class_id, 0.0).tolist() == [0, 1]
    assert suppress(touching, score, class_id, 1.0).tolist() == [0, 1, 2]


def test_a_box_dropped_does_not_drop_others() -> None:
    chain = np.array([[0.0, 0, 10, 1], [4, 0, 14, 1], [8, 0, 18, 1]])  # the middle overlaps both by 3/7
    assert suppress(chain, np.array([0.9, 0.8, 0.7]), np.zeros(3, np.int64), 0.4).tolist() == [0, 2]


def test_no_boxes_are_no_boxes() -> None:
    kept = suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), 0.45)
    assert kept.shape == (0,)
    assert kept.dtype == np.int64


@settings(max_examples=100, deadline=None)
@given(one=corners, others=st.lists(corners, min_size=1, max_size=5))
def test_iou_is_shared_area_by_joint_area(one: tuple, others: list) -> None:
    box, many = np.array(one, np.float64), np.array(others, np.float64)
    expected = [float(exact_iou(box, other)) for other in many]
    assert iou(box, many).tolist() == pytest.approx(expected, abs=1e-15)


def test_thirty_thousand_boxes_of_eighty_classes_take_no_age() -> None:
    import time

    boxes = random_boxes(0, 30_000, classes=80)
    start = time.perf_counter()
    kept = suppress(boxes[0] * 20, *boxes[1:], 0.45)
    assert time.perf_counter() - start < 15, "class by class this takes well under a second"
    assert len(kept) > 1000
