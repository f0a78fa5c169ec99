"""PNG files that every reader reads."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

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


@pytest.mark.parametrize("photo", [False, True])
@pytest.mark.parametrize("shape", [(700, 500, 3), (1000, 700), (3, 400_000), (257, 340, 3)])
def test_a_picture_of_many_stripes_is_one_picture(photo: bool, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, shape).astype(np.uint8)
    data = encode_png(pixels, photo=photo)
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # the check sums
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read[..., ::-1] if len(shape) == 3 else read, pixels)
    assert len(data) < pixels.nbytes * 0.6
