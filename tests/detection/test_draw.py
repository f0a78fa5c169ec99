"""Boxes on their picture: outlines on the pixels that they name, labels on the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layerscope.detection.boxes import Anchor, Box, Channels
from layerscope.detection.draw import class_colour, draw_boxes
from layerscope.inputs import Frame

XYXY = tuple[float, float, float, float]


def box(xyxy: XYXY, *, class_id: int = 0, label: str = "dog", score: float = 0.5) -> Box:
    return Box(
        label=label,
        class_id=class_id,
        score=score,
        xyxy=xyxy,
        scale=8,
        cell=(0, 0),
        anchor=Anchor(index=0, width=8, height=8),
        channels=Channels(layer="head", box=(0, 1, 2, 3), objectness=4, label=5 + class_id),
    )


GREY = 77
"""Neither a class's colour nor a letter's."""


def grey(height: int, width: int) -> Frame:
    return Frame(name="grey", pixels=np.full((height, width, 3), GREY, np.uint8))


def drawn(height: int, width: int, *boxes: Box) -> np.ndarray:
    return np.asarray(draw_boxes(grey(height, width), boxes))


def changed(picture: Image.Image | np.ndarray) -> np.ndarray:
    """(H, W) bool, the pixels that are not grey any more."""
    return (np.asarray(picture) != GREY).any(axis=2)


def touched(xyxy: XYXY, height: int, width: int) -> np.ndarray:
    """The oracle: (H, W) bool, the pixels whose square shares some area with a box."""
    rows, columns = np.arange(height)[:, None], np.arange(width)
    left, top, right, bottom = xyxy
    return (columns < right) & (columns + 1 > left) & (rows < bottom) & (rows + 1 > top)


def rim(inside: np.ndarray, thickness: int) -> np.ndarray:
    """The oracle of an outline: what a box shaved off by its line's thickness on all sides loses."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    inner = np.zeros_like(inside)
    inner[np.ix_(rows[thickness:-thickness], columns[thickness:-thickness])] = True
    return inside & ~inner


@pytest.mark.parametrize(
    "xyxy",
    [
        (20.0, 30.0, 80.0, 70.0),
        (20.9, 30.2, 79.1, 69.9),
        (5.5, 25.5, 6.5, 26.5),
        (40.0, 20.0, 120.0, 90.0),
        (-30.0, 40.0, 50.0, 400.0),
        (90.0, -5.0, 500.0, 50.0),
        (-1e9, -1e9, 1e9, 1e9),
    ],
)
def test_an_outline_lies_on_the_outermost_pixels_that_its_box_touches(xyxy: XYXY) -> None:
    height, width = 90, 120
    picture = drawn(height, width, box(xyxy, label="d"))
    coloured = changed(picture)
    inside = touched(xyxy, height, width)
    outline = rim(inside, 2)
    assert coloured[outline].all()
    label = np.zeros_like(coloured)  # the rest is the label's one rectangle
    rest = np.argwhere(coloured & ~outline)
    label[tuple(slice(low, high + 1) for low, high in zip(rest.min(0), rest.max(0), strict=True))] = True
    assert (coloured == outline | label).all()
    assert label.any(1).sum() < 20
    assert label.any(0).sum() < 60


def test_the_lines_colour_is_the_classes_own_and_pictures_are_not_changed() -> None:
    frame = grey(60, 200)
    picture = np.asarray(draw_boxes(frame, [box((20, 30, 60, 50), class_id=1), box((120, 30, 160, 50), class_id=2)]))
    assert tuple(picture[45, 20]) == class_colour(1)
    assert tuple(picture[45, 159]) == class_colour(2)
    assert class_colour(1) != class_colour(2)
    assert (frame.pixels == GREY).all()
    assert picture.shape == (60, 200, 3)


def test_neighbouring_classes_are_told_apart_by_their_colours() -> None:
    colours = np.array([class_colour(index) for index in range(80)])
    assert len(np.unique(colours, axis=0)) == 80
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 80
    assert colours.max(axis=1).min() > 200, "bright enough for any picture"


def test_of_boxes_on_each_other_the_best_is_on_top() -> None:
    best, worst = (box((10, 30, 50, 60), class_id=index, label="d") for index in (3, 4))
    picture = drawn(90, 90, best, worst)
    assert tuple(picture[45, 10]) == class_colour(3)


def labels_rectangle(picture: np.ndarray, colour: tuple[int, int, int], outline: np.ndarray) -> tuple[slice, slice]:
    """Where the label's background is: what has its colour beside the outline."""
    rows, columns = np.nonzero((picture == colour).all(axis=2) & ~outline)
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


@pytest.mark.parametrize(
    ("xyxy", "where"),
    [
        ((20.0, 40.0, 90.0, 80.0), "above"),
        ((20.0, 3.0, 150.0, 80.0), "inside"),
        ((190.0, 40.0, 199.0, 80.0), "above, moved to the left"),
        ((-40.0, -40.0, 300.0, 300.0), "inside"),
        ((20.0, 97.0, 60.0, 130.0), "above"),
    ],
)
def test_a_label_is_whole_and_on_the_picture_wherever_its_box_is(xyxy: XYXY, where: str) -> None:
    height, width = 100, 200
    picture = drawn(height, width, box(xyxy, label="motorbike"))
    rows, columns = labels_rectangle(picture, class_colour(0), rim(touched(xyxy, height, width), 2))
    whole = drawn(height, width, box((20.0, 40.0, 150.0, 80.0), label="motorbike"))
    same = labels_rectangle(whole, class_colour(0), rim(touched((20.0, 40.0, 150.0, 80.0), height, width), 2))
    if where != "inside":  # inside, the outline runs through the label's own rectangle
        assert np.array_equal(picture[rows, columns], whole[same])
        assert rows.stop == math.floor(xyxy[1])
    assert (picture[rows, columns] == 0).all(axis=2).any(), "its letters"
    assert columns.stop <= width
    assert rows.start >= 0


def test_labels_of_boxes_on_each_other_do_not_lie_on_each_other() -> None:
    boxes = [box((30, 60, 150, 130), class_id=index, label=f"kind {index}") for index in range(3)]
    picture = drawn(200, 200, *boxes)
    outline = rim(touched((30, 60, 150, 130), 200, 200), 2)
    written = np.zeros((200, 200), int)
    for index in range(3):
        place = labels_rectangle(picture, class_colour(index), outline)
        written[place] += 1
        assert written[place].size > 500
    assert written.max() == 1


def test_no_outline_runs_through_a_label() -> None:
    weak = box((30, 60, 150, 130), class_id=0, label="weak")
    strong = box((40, 20, 160, 180), class_id=1, label="strong")
    alone, both = drawn(200, 200, weak), drawn(200, 200, strong, weak)
    outline = rim(touched((30, 60, 150, 130), 200, 200), 2)
    place = labels_rectangle(alone, class_colour(0), outline)
    assert rim(touched((40, 20, 160, 180), 200, 200), 2)[place].any(), "the stronger box's line would cross it"
    assert np.array_equal(both[place], alone[place])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (3, 3), (12, 12), (30, 40)])
def test_a_label_for_which_the_picture_is_too_small_is_left_out(height: int, width: int) -> None:
    xyxy = (width * 0.25, height * 0.25, width * 0.75, height * 0.75)
    picture = drawn(height, width, box(xyxy, label="traffic light"))
    outline = rim(touched(xyxy, height, width), 2)
    assert (changed(picture) == outline).all()


def test_where_the_score_does_not_fit_the_name_alone_is_written() -> None:
    xyxy = (5.0, 30.0, 35.0, 55.0)
    wide, narrow = (drawn(60, width, box(xyxy, label="person")) for width in (200, 55))
    outline = rim(touched(xyxy, 60, 55), 2)
    assert labels_rectangle(narrow, class_colour(0), outline)[0].stop == 30
    assert (narrow[:30] == 0).all(axis=2).any(), "its letters"
    widths = [np.ptp(np.nonzero((picture[:30] == class_colour(0)).all(axis=2))[1]) for picture in (wide, narrow)]
    assert widths[1] < 55 < widths[0]


@pytest.mark.parametrize("side", [400, 1600])
def test_lines_grow_with_the_picture(side: int) -> None:
    xyxy = (side * 0.25, side * 0.5, side * 0.75, side * 0.75)
    row = changed(drawn(side, side, box(xyxy)))[round(side * 0.6)]
    assert row[: side // 2].sum() == side / 200


def test_a_huge_picture_is_drawn_at_its_own_size() -> None:
    picture = draw_boxes(grey(3000, 5000), [box((4000.0, 2000.0, 5100.0, 2500.0), label="sheep")])
    assert picture.size == (5000, 3000)
    lit = changed(picture)
    assert lit[2000:2500, 4000:4015].all()
    assert lit[1900:2000, 4000:4400].mean() > 0.5
    assert not lit[:, :3990].any()


numbers = st.floats(-300, 300)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 150), st.integers(1, 200)),
    corners=st.lists(st.tuples(numbers, numbers, st.floats(0, 300), st.floats(0, 300)), max_size=5),
    label=st.sampled_from(["", "dog", "a much longer name than any", "ё 狗"]),
)
def test_anything_can_be_drawn_and_nothing_is_drawn_twice_differently(
    size: tuple[int, int], corners: list, label: str
) -> None:
    boxes = [box((x, y, x + w, y + h), class_id=index, label=label) for index, (x, y, w, h) in enumerate(corners)]
    picture = draw_boxes(grey(*size), boxes)
    assert picture.size == size[::-1]
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), drawn(*size, *boxes))
    assert changed(picture).any() == bool(boxes)


def test_no_boxes_give_the_picture_itself(photo: np.ndarray) -> None:
    picture = draw_boxes(Frame(name="photo", pixels=photo), iter([]))
    assert np.array_equal(np.asarray(picture), photo)
    assert isinstance(picture, Image.Image)
