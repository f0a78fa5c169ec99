"""Videos, animated pictures, cameras, streams and stacks: every frame, at its time, in its place."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image

from layerscope.errors import InputError, InputNotFoundError, OptionError
from layerscope.inputs import Frame, Span, find_inputs

if TYPE_CHECKING:
    from pathlib import Path

av = pytest.importorskip("av")
COUNT, FPS = 12, 5


def picture(number: int, size_hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A bright bar whose place says the number, so that a frame is recognised after compression."""
    pixels = np.full((*size_hw, 3), 30, np.uint8)
    pixels[:, number * 5 : number * 5 + 5] = (240, 200, 40)
    return pixels


def number_of(pixels: np.ndarray) -> int:
    return round((int(pixels[..., 0].astype(int).sum(0).argmax()) - 2) / 5)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.options = {"crf": "12", "g": "4"}
        for number in range(COUNT):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return path


def frames_of(source: object, span: Span | None = None) -> list[Frame]:
    (item,) = find_inputs(source, span=span or Span())  # type: ignore[arg-type]
    return [read() for _, read in item.frames()]


def test_every_frame_comes_in_order_with_its_time(clip: Path) -> None:
    frames = frames_of(clip)
    assert [number_of(frame.pixels) for frame in frames] == list(range(COUNT))
    assert [frame.name for frame in frames] == [f"clip-{number:06}" for number in range(COUNT)]
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(COUNT) / FPS)
    reader = cv2.VideoCapture(str(clip))
    for frame in frames:
        read, expected = reader.read()
        assert read
        assert np.abs(frame.pixels.astype(int) - expected[..., ::-1].astype(int)).mean() < 4


@pytest.mark.parametrize(
    ("span", "numbers"),
    [
        (Span(every=3), [0, 3, 6, 9]),
        (Span(start_s=1.0), list(range(5, 12))),
        (Span(start_s=1.1, count=2), [6, 7]),
        (Span(every=2, start_s=0.4, count=3), [2, 4, 6]),
        (Span(start_s=99), []),
    ],
)
def test_a_span_takes_these_frames(clip: Path, span: Span, numbers: list[int]) -> None:
    frames = frames_of(clip, span)
    assert [number_of(frame.pixels) for frame in frames] == numbers
    np.testing.assert_allclose([frame.time_s for frame in frames], np.array(numbers) / FPS)


@pytest.mark.parametrize("options", [{"every": 0}, {"start_s": -1}, {"count": 0}, {"start_s": float("inf")}])
def test_a_span_that_means_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        Span(**options)  # type: ignore[arg-type]


def test_a_video_that_is_turned_is_shown_upright(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    at = data.find(b"tkhd") + 4 + 40  # the matrix: behind version, times, track, length and reserved, in version 0
    quarter = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
    data[at : at + 36] = quarter
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    upright, plain = frames_of(turned)[3].pixels, frames_of(clip)[3].pixels
    assert upright.shape == (64, 48, 3)
    np.testing.assert_array_equal(upright, np.rot90(plain, -1))  # a phone's: the matrix turns clockwise


def test_a_damaged_packet_costs_its_frames_and_no_others(clip: Path, tmp_path: Path) -> None:
    with av.open(str(clip)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(clip.read_bytes())
    position, size = packets[8]  # of the third group of pictures
    data[position : position + size] = b"\x00" * size
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data)
    (item,) = find_inputs(broken)
    good, bad = [], []
    for name, read in item.frames():
        try:
            good.append(number_of(read().pixels))
        except InputError as error:
            bad.append((name, str(error)))
    assert good[:8] == list(range(8))
    assert bad
    assert "broken.mp4: damaged after" in bad[0][1]


def test_what_is_no_video_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    for name, kind, message in (
        ("text.mp4", InputError, "cannot be opened as a video"),
        ("empty.mp4", InputError, "cannot be opened as a video"),
        ("none.mp4", InputNotFoundError, "no such file"),
    ):
        (item,) = find_inputs(tmp_path / name)
        with pytest.raises(kind, match=message) as caught:
            list(item.frames())
        assert "\n" not in str(caught.value)


def test_a_camera_or_stream_that_is_not_there_is_said() -> None:
    (item,) = find_inputs("camera:97")
    assert item.name == "camera97"
    with pytest.raises(InputNotFoundError, match="camera:97: there is no such camera"):
        list(item.frames())
    (item,) = find_inputs("rtsp://127.0.0.1:9/live")
    assert item.name == "live"
    with pytest.raises(InputError, match="cannot be opened as a video"):
        list(item.frames())


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_animated_pictures_are_all_their_frames_and_still_ones_are_one(ending: str, tmp_path: Path) -> None:
    first, *others = (Image.fromarray(picture(number)) for number in range(4))
    options = {"lossless": True} if ending == "webp" else {}
    first.save(tmp_path / f"moving.{ending}", save_all=True, append_images=others, duration=200, **options)
    first.save(tmp_path / f"still.{ending}")
    frames = frames_of(tmp_path / f"moving.{ending}")
    assert [number_of(frame.pixels) for frame in frames] == [0, 1, 2, 3]
    np.testing.assert_allclose([frame.time_s for frame in frames], [0, 0.2, 0.4, 0.6])
    (still,) = frames_of(tmp_path / f"still.{ending}")
    assert still.name == "still"
    assert still.time_s is None


def test_stacks_of_arrays_are_their_pictures(tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.stack([picture(number) for number in range(3)]))
    np.save(tmp_path / "grey.npy", np.zeros((5, 8, 9), np.uint8))
    np.save(tmp_path / "one.npy", picture(7))
    np.save(tmp_path / "words.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert [number_of(frame.pixels) for frame in frames_of(tmp_path / "many.npy")] == [0, 1, 2]
    assert len(frames_of(tmp_path / "grey.npy")) == 5
    assert [number_of(frame.pixels) for frame in frames_of(tmp_path / "one.npy")] == [7]
    with pytest.raises(InputError, match="no array file that can be read"):
        frames_of(tmp_path / "words.npy")


def test_folders_hold_videos_beside_pictures(clip: Path) -> None:
    Image.fromarray(picture(2)).save(clip.parent / "a.png")
    names = [name for item in find_inputs(clip.parent) for name, _ in item.frames()]
    assert names == ["a", *(f"clip-{number:06}" for number in range(COUNT))]


def test_where_one_picture_is_wanted_a_video_gives_its_first(clip: Path) -> None:
    (item,) = find_inputs(clip)
    assert number_of(item.open().pixels) == 0
