"""PNG files that every reader reads."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from layerscope.render.sheet import sheet_pixels
from layerscope.sinks.png import encode_png


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (3,)]), st.booleans(), st.integers(0, 9))
def test_pillow_and_opencv_read_back_every_pixel(
    height: int, width: int, colour: tuple[int, ...], photo: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, *colour)).astype(np.uint8)
    pixels[: height // 2] = 7  # flat, as most of a sheet is
    data = encode_png(pixels, photo=photo)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.mode == ("RGB" if colour else "L")
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1] if colour else read, pixels)


@pytest.mark.parametrize("photo", [False, True])
def test_views_of_any_memory_are_written_as_they_look(photo: bool) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[::-1, :, ::-1]
    with Image.open(io.BytesIO(encode_png(pixels, photo=photo))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (1, 1), (2, 1, 3)])
def test_rows_that_lie_behind_zeros_in_memory_are_written_as_any_others(shape: tuple[int, ...]) -> None:
    lines = np.random.default_rng(0).integers(1, 256, (shape[0], 1 + int(np.prod(shape[1:])))).astype(np.uint8)
    lines[:, 0] = 0
    before = lines.copy()
    pixels = lines[:, 1:].reshape(shape)
    assert np.shares_memory(pixels, lines)
    for photo in (False, True):
        assert encode_png(pixels, photo=photo) == encode_png(pixels.copy(), photo=photo)
    np.testing.assert_array_equal(lines, before)


@pytest.mark.parametrize("colour", [(), (3,)])
def test_rows_in_memory_that_only_look_like_such_lines_are_written_as_they_look(colour: tuple[int, ...]) -> None:
    shape = (6, 4, *colour)
    width = int(np.prod(shape[1:]))
    lines = np.random.default_rng(0).integers(0, 256, (6, 1 + width)).astype(np.uint8)
    zeros = lines.copy()
    zeros[:, 0] = 0
    turned = np.asfortranarray(zeros)
    for part in (
        lines[:, 1:],  # no zeros before the rows
        zeros[:, :-1],  # the zeros are pixels
        zeros[::-1, 1:],
        zeros[:, :0:-1],
        turned[:, 1:],
        np.repeat(zeros, 2, axis=1).view(np.uint16).view(np.uint8)[:, 2 : 2 + width],
    ):
        pixels = part.reshape(shape)
        with Image.open(io.BytesIO(encode_png(pixels))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_a_turned_square_is_written_as_it_looks() -> None:
    lines = np.arange(30, dtype=np.uint8).reshape(5, 6).copy()
    lines[:, 0] = 0
    with Image.open(io.BytesIO(encode_png(lines[:, 1:].T))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), lines[:, 1:].T)


def test_a_sheet_is_compressed_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    monkeypatch.setattr(np, "ascontiguousarray", lambda pixels: copies.append(pixels.shape) or pixels.copy())
    tiles = np.random.default_rng(0).integers(0, 256, (7, 9, 8)).astype(np.uint8)
    for colormap in ("grey", "viridis"):
        pixels = sheet_pixels(tiles, header=["stem"], colormap=colormap)
        data = encode_png(pixels)
        assert not copies
        with Image.open(io.BytesIO(data)) as picture:
            np.testing.assert_array_equal(np.asarray(picture), pixels)
    encode_png(pixels.copy())
    assert copies


@pytest.mark.parametrize("photo", [False, True])
@pytest.mark.parametrize("shape", [(700, 500, 3), (1000, 700), (3, 400_000), (257, 340, 3)])
def test_large_pictures_are_read_back_and_their_check_sums_hold(photo: bool, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint8)
    data = encode_png(pixels, photo=photo)
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # the check sums
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1] if len(shape) == 3 else read, pixels)
    assert len(data) < pixels.nbytes * 0.6
