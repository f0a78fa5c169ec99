from __future__ import annotations

from pathlib import Path  # noqa: TC003

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layerscope.errors import InputError, OptionError
from layerscope.inputs import Frame, Preparation, parse_size, place, prepare, read_picture, with_options

sides = st.integers(1, 90)
modes = st.sampled_from(["stretch", "letterbox", "crop"])


def frame_of(height: int, width: int, seed: int = 0) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame(name="noise", pixels=pixels)


def slow_letterbox(pixels: np.ndarray, height: int, width: int, pad: int) -> np.ndarray:
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    new_width, new_height = max(1, int(pixels.shape[1] * scale)), max(1, int(pixels.shape[0] * scale))
    small = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    canvas = np.full((height, width, 3), pad, np.uint8)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    canvas[top : top + new_height, left : left + new_width] = small
    return canvas


def slow_crop(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    if height * pixels.shape[1] >= width * pixels.shape[0]:
        new_height, new_width = height, max(width, pixels.shape[1] * height // pixels.shape[0])
    else:
        new_height, new_width = max(height, pixels.shape[0] * width // pixels.shape[1]), width
    large = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left, top = round((new_width - width) / 2), round((new_height - height) / 2)
    return large[top : top + height, left : left + width]


@settings(max_examples=120, deadline=None)
@given(sides, sides, sides, sides)
def test_letterbox_is_the_slow_letterbox(height: int, width: int, new_height: int, new_width: int) -> None:
    frame = frame_of(height, width)
    pixels, _ = place(frame, Preparation(size_hw=(new_height, new_width), resize="letterbox", pad=7))
    np.testing.assert_array_equal(pixels, slow_letterbox(frame.pixels, new_height, new_width, 7))


@settings(max_examples=120, deadline=None)
@given(sides, sides, sides, sides)
def test_crop_is_the_slow_crop(height: int, width: int, new_height: int, new_width: int) -> None:
    frame = frame_of(height, width)
    pixels, _ = place(frame, Preparation(size_hw=(new_height, new_width), resize="crop"))
    np.testing.assert_array_equal(pixels, slow_crop(frame.pixels, new_height, new_width))


@settings(max_examples=150, deadline=None)
@given(sides, sides, sides, sides, modes)
def test_placements_go_there_and_back(height: int, width: int, new_height: int, new_width: int, mode: str) -> None:
    options = with_options(Preparation(), size=(new_height, new_width), resize=mode)
    _, placement = place(frame_of(height, width), options)
    points = np.random.default_rng(1).uniform(-1, 2, (20, 2)) * (width, height)
    np.testing.assert_allclose(placement.to_frame(placement.to_input(points)), points, atol=1e-9 * max(height, width))
    corners = placement.to_input(np.array([[0.0, 0.0], [width, height]]))
    whole = np.array([[0.0, 0.0], [new_width, new_height]])
    if mode == "stretch":
        np.testing.assert_allclose(corners, whole)
    elif mode == "letterbox":
        assert (corners[0] >= -1e-9).all()
        assert (corners[1] <= whole[1] + 1e-9).all()
    else:
        assert (corners[0] <= 1e-9).all()
        assert (corners[1] >= whole[1] - 1e-9).all()
        assert ((corners[1] - corners[0]) - whole[1]).min() == pytest.approx(0, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(8, 60), st.integers(8, 60), modes, st.data())
def test_a_bright_spot_lies_where_the_placement_says(
    height: int, width: int, new_height: int, new_width: int, mode: str, data: st.DataObject
) -> None:
    # A spot that survives shrinking, for bilinear skips pixels: its centre is what is compared.
    high, wide = -(-height // 4), -(-width // 4)
    top = data.draw(st.integers(0, height - high))
    left = data.draw(st.integers(0, width - wide))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top : top + high, left : left + wide] = 255
    options = with_options(Preparation(), size=(new_height, new_width), resize=mode, filter="bilinear-aa", pad=0)
    x, placement = prepare(Frame(name="spot", pixels=pixels), options)
    corners = placement.to_input(np.array([[left, top], [left + wide, top + high]], np.float64))
    visible = np.clip(corners, 0, (new_width, new_height))
    grey = x[0, 0].numpy().astype(np.float64)
    if (visible != corners).any():  # partly cut off: the middle of what is left is bright
        if (visible[1] - visible[0]).min() < 3:
            return
        column, row = visible.mean(0).astype(int)
        assert grey[row, column] > 0.5
        return
    ys, xs = np.mgrid[0:new_height, 0:new_width] + 0.5
    centre = np.array([(grey * xs).sum(), (grey * ys).sum()]) / grey.sum()
    # At a border the filter's tail has nowhere to go, which pulls the centre by part of a pixel.
    np.testing.assert_allclose(centre, corners.mean(0), atol=1.0)


@pytest.mark.parametrize("mode", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("size", [(64, 64), (40, 96), (96, 40)])
def test_a_single_bright_pixel_lands_exactly(mode: str, size: tuple[int, int]) -> None:
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[14, 23] = 255
    options = with_options(Preparation(), size=size, resize=mode, pad=0)
    placed, placement = place(Frame(name="spot", pixels=pixels), options)
    x, y = placement.to_input(np.array([23.5, 14.5]))
    row, column = np.unravel_index(placed[:, :, 0].argmax(), size)
    assert abs(row + 0.5 - y) <= 1
    assert abs(column + 0.5 - x) <= 1


@pytest.mark.parametrize(
    ("stem", "picture"),
    [
        ("yolo-fastest-1.1__dog__letterbox", "dog"),
        ("yolo-fastest-1.1__dog", "dog"),
        ("yolo-fastest-1.1__giraffe", "giraffe"),
        ("yolo-fastest-1.1__person", "person"),
        ("MobileNetV2-YOLOv3-Nano-voc__dog", "dog"),
        ("yolov3__dog__seed1", "dog"),
        ("yolov3-tiny__dog__seed1", "dog"),
    ],
)
def test_reference_inputs_are_reproduced_bit_for_bit(shared_data: Path, stem: str, picture: str) -> None:
    expected = np.load(shared_data / "reference" / f"{stem}.npz")["input_uint8"]
    mode = "letterbox" if stem.endswith("letterbox") else "stretch"
    frame = Frame(name=picture, pixels=read_picture(shared_data / "images" / f"{picture}.jpg"))
    options = with_options(Preparation(), size=expected.shape[:2], resize=mode)
    x, _ = prepare(frame, options)
    reference = np.ascontiguousarray(expected.astype(np.float32).transpose(2, 0, 1)[None] / np.float32(255))
    assert torch.equal(x, torch.from_numpy(reference))


def test_the_recipes_input_is_reproduced_bit_for_bit(shared_data: Path) -> None:
    path = shared_data / "images" / "dog.jpg"
    recipe = cv2.resize(cv2.imread(str(path)), (416, 416)).astype(np.float32).transpose(2, 0, 1)[None]
    x, _ = prepare(Frame(name="dog", pixels=read_picture(path)), Preparation(order="bgr", range="0-255"))
    assert torch.equal(x, torch.from_numpy(np.ascontiguousarray(recipe)))


def test_the_input_is_contiguous_float32_with_a_batch_axis() -> None:
    x, placement = prepare(frame_of(10, 20), Preparation(size_hw=(5, 7), order="bgr"))
    assert (x.shape, x.dtype, x.is_contiguous()) == ((1, 3, 5, 7), torch.float32, True)
    assert (placement.frame_hw, placement.input_hw) == ((10, 20), (5, 7))


def test_every_byte_is_divided_in_float32() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    frame = Frame(name="ramp", pixels=pixels)
    x, _ = prepare(frame, Preparation(size_hw=(16, 16)))
    np.testing.assert_array_equal(x[0, 1].numpy(), pixels[:, :, 0].astype(np.float32) / np.float32(255))
    x, _ = prepare(frame, Preparation(size_hw=(16, 16), range="0-255"))
    np.testing.assert_array_equal(x[0, 1].numpy(), pixels[:, :, 0].astype(np.float32))


def test_mean_and_std_are_in_the_networks_order_and_range() -> None:
    frame = Frame(name="red", pixels=np.full((1, 1, 3), (200, 100, 50), np.uint8))
    options = Preparation(size_hw=(1, 1), order="bgr", range="0-255", mean=(10, 20, 30), std=(2, 4, 5))
    x, _ = prepare(frame, options)
    assert x.flatten().tolist() == [20.0, 20.0, 34.0]


def test_the_frame_is_not_changed_and_not_shared() -> None:
    frame = frame_of(6, 6)
    before = frame.pixels.copy()
    for options in (Preparation(size_hw=(6, 6)), Preparation(size_hw=(6, 6), range="0-255", mean=(1, 1, 1))):
        x, _ = prepare(frame, options)
        x.zero_()
    np.testing.assert_array_equal(frame.pixels, before)


@pytest.mark.parametrize("width", [width for width in range(1, 900) if int(width * (416 / width)) < 416][::8])
def test_crop_fills_the_input_where_the_scaled_side_falls_a_hair_short(width: int) -> None:
    frame = Frame(name="white", pixels=np.full((2 * width, width, 3), 255, np.uint8))
    pixels, placement = place(frame, Preparation(resize="crop", pad=0))
    assert pixels.min() == 255
    assert placement.offset_xy[0] == 0


@pytest.mark.parametrize("mode", ["letterbox", "crop"])
def test_a_strip_a_thousand_times_longer_than_high_is_prepared(mode: str) -> None:
    x, placement = prepare(frame_of(1, 20_000), Preparation(resize=mode))
    assert x.shape == (1, 3, 416, 416)
    np.testing.assert_allclose(placement.to_input(np.array([10_000.0, 0.5])), [208, 208], atol=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_hw": (0, 4)}, "sides from 1 to 16384"),
        ({"size_hw": (4, 16385)}, "sides from 1 to 16384"),
        ({"size_hw": (4.5, 4)}, "two whole numbers"),
        ({"size_hw": 416}, "two whole numbers"),
        ({"size_hw": (True, 4)}, "two whole numbers"),
        ({"resize": "leterbox"}, "did you mean 'letterbox'"),
        ({"filter": "bicubic"}, "did you mean 'bicubic-aa'"),
        ({"order": "RGB"}, "expected one of rgb, bgr"),
        ({"range": 1}, "expected one of 0-1, 0-255"),
        ({"mean": (1, 2)}, "three finite numbers"),
        ({"mean": 0.5}, "three finite numbers"),
        ({"mean": (1, 2, float("nan"))}, "three finite numbers"),
        ({"std": ("a", 1, 1)}, "three finite numbers"),
        ({"std": (1, 0, 1)}, "expected no zero"),
        ({"pad": 256}, "grey level from 0 to 255"),
        ({"pad": -1}, "grey level from 0 to 255"),
        ({"pad": 1.5}, "grey level from 0 to 255"),
    ],
)
def test_a_value_outside_its_choices_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        Preparation(**options)
    assert "\n" not in str(caught.value)


def test_options_change_by_their_public_names_and_none_leaves_them() -> None:
    base = Preparation(size_hw=(64, 32), mean=(1, 2, 3))
    assert with_options(base) == base
    changed = with_options(
        base,
        size=np.int64(96),
        resize="crop",
        filter="nearest",
        order="bgr",
        range="0-255",
        std=[1, 2, 3],
        pad=0,
    )
    assert changed == Preparation(
        size_hw=(96, 96),
        resize="crop",
        filter="nearest",
        order="bgr",
        range="0-255",
        mean=(1.0, 2.0, 3.0),
        std=(1.0, 2.0, 3.0),
        pad=0,
    )
    assert with_options(base, size=(8, 9)).size_hw == (8, 9)
    with pytest.raises(OptionError, match="sides from 1"):
        with_options(base, size=0)


@pytest.mark.parametrize(
    ("text", "size"), [("416", (416, 416)), ("288x352", (288, 352)), (" 32 X 64 ", (32, 64)), ("8×9", (8, 9))]
)
def test_sizes_are_read_as_height_by_width(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "12x", "x12", "1x2x3", "-4", "4.5", "0", "0x4", "99999", "9" * 5000, "٣"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="size"):
        parse_size(text)


def test_a_frame_with_wrong_pixels_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected .H, W, 3. uint8"):
        prepare(Frame(name="grey", pixels=np.zeros((4, 4, 1), np.uint8)), Preparation())
