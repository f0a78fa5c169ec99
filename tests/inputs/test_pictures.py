from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from layerscope.errors import InputError, InputNotFoundError, LayerscopeError, OptionError
from layerscope.inputs import pictures, read_picture
from layerscope.inputs.pictures import image_pixels

LOSSLESS = {
    "png": {},
    "webp": {"lossless": True},
    "bmp": {},
    "tiff": {},
    "ppm": {},
    "jp2": {"irreversible": False},
}


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def the_error(path: object, **options: int) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(path, **options)
    message = str(caught.value)
    assert message
    assert message.isprintable(), message
    return message


# What is read


@pytest.mark.parametrize("name", ["dog", "giraffe", "person"])
def test_a_jpeg_has_opencvs_pixels(shared_data: Path, name: str) -> None:
    path = shared_data / "images" / f"{name}.jpg"
    np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path))[:, :, ::-1])


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_kinds_of_jpeg_have_opencvs_pixels(
    tmp_path: Path, photo: np.ndarray, subsampling: int, progressive: bool
) -> None:
    image = Image.fromarray(photo[:47, :61])
    data = encoded(image, "JPEG", quality=80, subsampling=subsampling, progressive=progressive)
    path = written(tmp_path / "a.jpg", data)
    np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path))[:, :, ::-1])


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats_give_the_pixels_back(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path, **LOSSLESS[suffix])
    file = io.BytesIO(path.read_bytes())
    for source in (path, str(path), file, file):  # twice, for it is left open and read from its start
        pixels = read_picture(source)
        np.testing.assert_array_equal(pixels, photo)
        assert (pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (np.uint8, True, True)


def test_the_ending_does_not_matter(tmp_path: Path, photo: np.ndarray) -> None:
    path = written(tmp_path / "a.jpg", encoded(Image.fromarray(photo), "PNG"))
    np.testing.assert_array_equal(read_picture(path), photo)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_alpha_is_dropped_as_opencv_drops_it(tmp_path: Path, photo: np.ndarray, suffix: str) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (*photo.shape[:2], 1), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(np.concatenate([photo, alpha], 2)).save(path, **options)
    np.testing.assert_array_equal(read_picture(path), photo)
    if suffix != "tiff":  # there OpenCV multiplies by alpha
        np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path))[:, :, ::-1])


def test_grey_one_bit_and_grey_with_alpha(tmp_path: Path, photo: np.ndarray) -> None:
    grey = photo[:, :, 0]
    for name, image, expected in (
        ("L.png", Image.fromarray(grey), grey),
        ("LA.png", Image.fromarray(np.stack([grey, 255 - grey], 2), "LA"), grey),
        (
            "1.png",
            Image.fromarray(grey).point(lambda v: 255 if v > 99 else 0, "1"),
            np.where(grey > 99, 255, 0),
        ),
        (
            "1.tif",
            Image.fromarray(grey).point(lambda v: 255 if v > 99 else 0, "1"),
            np.where(grey > 99, 255, 0),
        ),
    ):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read_picture(tmp_path / name), np.repeat(expected[:, :, None], 3, 2), name)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(256))])
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palettes_give_their_colours(tmp_path: Path, photo: np.ndarray, transparency: object, suffix: str) -> None:
    image = Image.fromarray(photo).quantize(200)
    expected = np.asarray(image.convert("RGB"))
    options = (
        {}
        if transparency is None or (suffix == "gif" and not isinstance(transparency, int))
        else {"transparency": transparency}
    )
    image.save(tmp_path / f"a.{suffix}", **options)
    np.testing.assert_array_equal(read_picture(tmp_path / f"a.{suffix}"), expected)


def test_a_gif_gives_its_first_frame(tmp_path: Path, photo: np.ndarray) -> None:
    first = Image.fromarray(photo).quantize(250)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("P", first.size)] * 3)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.gif"), np.asarray(first.convert("RGB")))


@pytest.mark.parametrize("name", ["a.png", "little.tif", "big.tif", "a.pgm"])
def test_16_bit_grey_is_divided_by_257_and_rounded(tmp_path: Path, name: str) -> None:
    values = np.concatenate([np.arange(0, 65536, 37), [0, 128, 129, 385, 386, 65535]]).astype(np.uint16)[None]
    path = tmp_path / name
    if name == "a.pgm":
        path.write_bytes(b"P5 %d 1 65535\n" % values.size + values.astype(">u2").tobytes())
    elif name == "big.tif":
        Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes()).save(path)
    else:
        Image.fromarray(values).save(path)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(read_picture(path)[:, :, 1], expected)


def test_float_tiffs_are_taken_from_0_to_1_only(tmp_path: Path) -> None:
    good = tmp_path / "good.tif"
    Image.fromarray(np.array([[0, 0.2, 1]], np.float32)).save(good)
    assert read_picture(good)[0, :, 2].tolist() == [0, 51, 255]
    for name, values in (("high", [0, 255]), ("low", [-0.1, 1]), ("nan", [0, np.nan])):
        Image.fromarray(np.array([values], np.float32)).save(tmp_path / f"{name}.tif")
        assert "float pixels in 0..1" in the_error(tmp_path / f"{name}.tif")


def test_wide_integers_outside_16_bit_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(tmp_path / "a.tif")
    assert "16-bit grey (0..65535), got integers from 0 to 70000" in the_error(tmp_path / "a.tif")


def test_cmyk_is_converted(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif"), photo)
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(read_picture(tmp_path / "a.jpg").astype(int) - photo).max() <= 4


def test_lab_is_converted(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4), (255, 128, 128)).save(tmp_path / "a.tif")
    assert read_picture(tmp_path / "a.tif").min() >= 254


# EXIF


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_the_exif_turn_is_applied_once(tmp_path: Path, photo: np.ndarray, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path, exif=exif, **LOSSLESS.get(suffix, {}))
    stored = np.asarray(Image.open(path)) if suffix != "tiff" else photo
    turned = Image.fromarray(stored)
    turned.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(turned))
    np.testing.assert_array_equal(read_picture(path), expected)
    if suffix == "jpg":
        np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path))[:, :, ::-1])
    with Image.open(path) as opened:
        np.testing.assert_array_equal(image_pixels(opened), expected)


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"x"]
)
def test_a_broken_exif_block_is_no_turn(tmp_path: Path, photo: np.ndarray, block: bytes) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(photo).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    np.testing.assert_array_equal(read_picture(path), cv2.imread(str(path))[:, :, ::-1])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_outside_1_to_8_is_no_turn(tmp_path: Path, photo: np.ndarray, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), photo)


# What is refused


def test_a_missing_file(tmp_path: Path, photo: np.ndarray) -> None:
    with pytest.raises(InputNotFoundError, match=r"^no such file: .*none\.jpg$"):
        read_picture(tmp_path / "none.jpg")
    Image.fromarray(photo).save(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "a.png" / "b.png")


def test_a_folder(tmp_path: Path) -> None:
    assert the_error(tmp_path) == f"{tmp_path}: a folder, where a picture file was expected"


def test_an_empty_file(tmp_path: Path) -> None:
    assert the_error(written(tmp_path / "a.jpg", b"")).endswith("a.jpg: an empty file")


def test_a_text_file_named_png(tmp_path: Path) -> None:
    assert "a text file, no picture" in the_error(written(tmp_path / "a.png", b"Hello,\nthis is text.\n"))
    assert "a text file, no picture" in the_error(written(tmp_path / "a.png", b"Perhaps a PPM? No.\n"))


def test_bytes_of_no_format(tmp_path: Path) -> None:
    message = the_error(written(tmp_path / "a.png", bytes(range(200, 256)) * 9))
    assert "no picture of a known format (JPEG, PNG" in message
    assert "text" not in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of Unix")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert "neither a file nor a folder" in the_error(tmp_path / "a.jpg")


def test_a_file_without_permission(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo).save(path)

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # a mode of 000 does not stop a test run as root
    assert the_error(path).endswith("a.png: may not be read (permission denied)")


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 5000 + ".png", "new\nline.png", "\udcff.png", "", " "])
def test_odd_paths_give_one_line(name: str) -> None:
    the_error(name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "gif", "ppm"])
@pytest.mark.parametrize("tolerant", [False, True])
def test_half_a_picture_is_never_given(
    tmp_path: Path, photo: np.ndarray, suffix: str, tolerant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # as other libraries do
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo).save(path)
    data, whole = path.read_bytes(), read_picture(path)
    for kept in sorted({int(len(data) * share) for share in np.linspace(0, 1, 60, endpoint=False)} | {len(data) - 1}):
        path.write_bytes(data[:kept])
        try:
            pixels = read_picture(path)
        except InputError:
            continue
        else:  # only what follows the pixels is missing
            np.testing.assert_array_equal(pixels, whole)
            assert kept > len(data) - 20
    assert tolerant is ImageFile.LOAD_TRUNCATED_IMAGES


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    message = the_error(written(tmp_path / "a.png", png_of(30_000, 30_000)))
    assert "30000 x 30000 = 900,000,000 pixels, over the limit of 178,956,970" in message
    assert "--max-pixels" in message


def test_the_limit_on_pixels_is_the_callers_not_pillows(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo).save(path)
    assert "128 x 96 = 12,288 pixels, over the limit of 12,287" in the_error(path, max_pixels=12_287)
    assert "over the limit" in the_error(io.BytesIO(path.read_bytes()), max_pixels=12_287)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(read_picture(path, max_pixels=12_288), photo)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_a_limit_that_is_no_positive_number_is_refused(limit: object) -> None:
    with pytest.raises(OptionError, match="max_pixels"):
        read_picture("a.png", max_pixels=limit)


def test_a_file_opened_as_text_and_a_closed_one(tmp_path: Path, photo: np.ndarray) -> None:
    path = tmp_path / "a.ppm"
    Image.new("RGB", (2, 2)).save(path)
    with path.open(encoding="latin-1") as file:
        assert "a.ppm: opened as text" in the_error(file)
    assert "closed file" in the_error(file)


def test_a_file_that_cannot_seek_is_read(photo: np.ndarray) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    np.testing.assert_array_equal(read_picture(Stream(encoded(Image.fromarray(photo), "PNG"))), photo)


@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("x"),
        struct.error("y"),
        ValueError("a\nb"),
        OverflowError(),
        MemoryError(),
        EOFError(),
        KeyError(3),
    ],
)
def test_whatever_pillow_raises_becomes_one_line(
    tmp_path: Path, photo: np.ndarray, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photo).save(path)

    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert "a.png: a PNG picture that is broken or cut short (" in the_error(path)


# What is left as it was


def test_pillows_globals_and_warning_filters_are_restored_across_threads(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    broken = written(tmp_path / "b.png", (tmp_path / "a.png").read_bytes()[:90])
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))

    def read_many() -> None:
        for _ in range(60):
            read_picture(tmp_path / "a.png")
            the_error(broken)

    threads = [threading.Thread(target=read_many) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_the_first_of_two_readers_to_finish_leaves_pillow_strict(
    tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pictures._strict_pillow:
        read_picture(tmp_path / "a.png")
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def seeds(photo: np.ndarray) -> list[bytes]:
    image = Image.fromarray(photo[:24, :32])
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image, "PNG", exif=exif),
        encoded(image.quantize(16), "PNG", transparency=b"\x01\x02"),
        encoded(image, "WEBP", exif=exif.tobytes()),
        encoded(image, "BMP"),
        encoded(image, "TIFF", exif=exif),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(Image.fromarray(photo[:24, :32, 0].astype(np.uint16) * 257), "TIFF"),
        encoded(image, "GIF"),
        encoded(image, "PPM"),
        encoded(image, "JPEG2000"),
        encoded(image, "AVIF") if "AVIF" in Image.SAVE else encoded(image, "GIF"),
    ]


def test_mutated_files_give_pixels_or_one_line(
    tmp_path: Path, photo: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(20)
    refused = []
    originals = seeds(photo)
    for turn in range(780):
        data = bytearray(originals[turn % len(originals)])
        header = turn % 2 == 0  # half of the mutations hit the header, where the parsers are
        for at in rng.integers(0, min(len(data), 80) if header else len(data), rng.integers(1, 9)):
            data[at] = rng.integers(0, 256)
        if turn % 5 == 0:
            del data[int(rng.integers(0, len(data))) :]
        path = written(tmp_path / "fuzz.png", bytes(data))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pixels = read_picture(path, max_pixels=4_000_000)
        except LayerscopeError as error:
            refused.append(str(error))
        else:
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
    assert 200 < len(refused) < 780
    assert all(map(str.isprintable, refused))
    printed = capfd.readouterr()
    # libtiff writes lines of its own on a damaged stream, past Python and Pillow.
    assert printed.out == ""
    assert "Warning" not in printed.err
    assert "Traceback" not in printed.err
