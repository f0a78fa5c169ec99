from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError, OptionError
from layerscope.inputs.resize import FILTERS, Window, resize

OPENCV = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_opencv(pixels: np.ndarray, size_hw: tuple[int, int], name: str = "bilinear") -> np.ndarray:
    return cv2.resize(pixels, size_hw[::-1], interpolation=OPENCV[name])


def random_sizes(count: int, longest: int, seed: int) -> list[tuple[int, int, int, int]]:
    rng = np.random.default_rng(seed)
    return [tuple(map(int, rng.integers(1, longest + 1, 4))) for _ in range(count)]


@pytest.mark.parametrize("name", OPENCV)
@pytest.mark.parametrize("longest", [3, 9, 60, 500])
def test_equals_opencv_bit_for_bit_at_random_sizes(name: str, longest: int) -> None:
    for height, width, new_height, new_width in random_sizes(120, longest, seed=longest):
        pixels = noise(height, width)
        expected = by_opencv(pixels, (new_height, new_width), name)
        actual = resize(pixels, (new_height, new_width), name)
        np.testing.assert_array_equal(actual, expected, f"{height}x{width} to {new_height}x{new_width}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((1, 1), (7, 5)),
        ((1, 9), (4, 4)),
        ((9, 1), (4, 4)),
        ((40, 60), (1, 1)),
        ((40, 60), (40, 60)),
        ((40, 60), (20, 30)),  # exactly half: averaged
        ((40, 60), (20, 60)),  # half along one axis only: not averaged
        ((40, 60), (40, 30)),
        ((40, 60), (20, 31)),
        ((41, 61), (20, 30)),
        ((40, 60), (10, 15)),
        ((40, 60), (80, 120)),
        ((2, 2), (1, 1)),
        ((576, 768), (416, 416)),
        ((832, 832), (416, 416)),
        ((480, 640), (1081, 1923)),
        ((3000, 4000), (416, 416)),
        ((4000, 3000), (2000, 1500)),
        ((3, 30000), (416, 416)),
    ],
)
def test_equals_opencv_at_special_sizes(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = noise(*old)
    np.testing.assert_array_equal(resize(pixels, new), by_opencv(pixels, new))


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_a_flat_picture_is_resized_as_opencv_does(level: int) -> None:
    pixels = np.full((37, 53, 3), level, np.uint8)
    np.testing.assert_array_equal(resize(pixels, (29, 71)), by_opencv(pixels, (29, 71)))


def test_takes_pixels_that_are_not_contiguous() -> None:
    pixels = noise(50, 70)[::-1, ::2]
    for name in FILTERS:
        expected = resize(np.ascontiguousarray(pixels), (31, 44), name)
        np.testing.assert_array_equal(resize(pixels, (31, 44), name), expected)


@pytest.mark.parametrize("name", FILTERS)
def test_a_window_is_a_part_of_the_whole(name: str) -> None:
    rng = np.random.default_rng(5)
    for height, width, new_height, new_width in [
        *random_sizes(30, 60, seed=3),
        (60, 80, 30, 40),
        (9, 9, 9, 9),
    ]:
        pixels = noise(height, width)
        high, wide = int(rng.integers(1, new_height + 1)), int(rng.integers(1, new_width + 1))
        top, left = int(rng.integers(0, new_height - high + 1)), int(rng.integers(0, new_width - wide + 1))
        whole = resize(pixels, (new_height, new_width), name)
        part = resize(pixels, (new_height, new_width), name, window=Window(top, left, high, wide))
        np.testing.assert_array_equal(part, whole[top : top + high, left : left + wide])


@pytest.mark.parametrize("name", FILTERS)
def test_a_window_of_a_huge_result_costs_only_the_window(name: str) -> None:
    strip = noise(1, 10_000)
    part = resize(strip, (400, 4_000_000), name, window=Window(0, 2_000_000, 400, 300))
    assert part.shape == (400, 300, 3)
    middle = strip[0, 5000].astype(int)
    assert np.abs(part[200, 200].astype(int) - middle).max() <= 1


@pytest.mark.parametrize(
    ("name", "resampling"),
    [
        ("box-aa", Image.Resampling.BOX),
        ("bilinear-aa", Image.Resampling.BILINEAR),
        ("bicubic-aa", Image.Resampling.BICUBIC),
        ("lanczos-aa", Image.Resampling.LANCZOS),
    ],
)
def test_antialiased_filters_are_pillows(name: str, resampling: Image.Resampling) -> None:
    pixels = noise(90, 70)
    expected = np.asarray(Image.fromarray(pixels).resize((33, 44), resampling))
    np.testing.assert_array_equal(resize(pixels, (44, 33), name), expected)


@pytest.mark.parametrize("name", FILTERS)
def test_the_result_is_new_and_the_argument_unchanged(name: str) -> None:
    pixels = noise(20, 30)
    before = pixels.copy()
    for size in ((20, 30), (10, 15), (7, 8)):
        result = resize(pixels, size, name)
        assert result.flags.c_contiguous
        result[:] = 0
        np.testing.assert_array_equal(pixels, before)


def test_an_unknown_filter_lists_the_choices_and_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"unknown filter 'bilinaer': .*lanczos-aa; did you mean 'bilinear'"):
        resize(noise(4, 4), (2, 2), "bilinaer")


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((0, 4), None),
        ((4, -1), None),
        ((4, 4), Window(0, 0, 5, 4)),
        ((4, 4), Window(-1, 0, 2, 2)),
        ((4, 4), Window(0, 0, 0, 2)),
    ],
)
def test_an_impossible_size_or_window_is_refused(size: tuple[int, int], window: Window | None) -> None:
    with pytest.raises(OptionError, match="positive size"):
        resize(noise(4, 4), size, window=window)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_pixels_of_another_kind_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8 pixels, got"):
        resize(pixels, (2, 2))
