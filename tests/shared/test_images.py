"""Image files as they are read, checked against Pillow, and what is said of those that cannot be."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from shared.errors import StorageError
from shared.images import ImageError, prepare_image, read_image
from shared.model_spec import InputSpec
from shared.status import Status

HEIGHT, WIDTH = 60, 80


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def reason_of(path: Path, max_pixels: int = 100_000_000) -> tuple[Status, str]:
    with pytest.raises(ImageError) as caught:
        read_image(path, max_pixels=max_pixels)
    return caught.value.status, caught.value.reason


def test_a_lossless_image_is_read_as_rgb(tmp_path: Path, gradient: np.ndarray) -> None:
    path = write(tmp_path / "a.png", encode(Image.fromarray(gradient), "PNG"))
    np.testing.assert_array_equal(read_image(path), gradient)


def test_a_jpeg_is_decoded_as_pillow_decodes_it(tmp_path: Path, gradient: np.ndarray) -> None:
    path = write(tmp_path / "a.jpg", encode(Image.fromarray(gradient), "JPEG", quality=90))
    pillow = np.asarray(Image.open(path)).astype(int)
    assert np.abs(read_image(path) - pillow).max() <= 2


def test_the_bytes_decide_the_format_not_the_name(tmp_path: Path, gradient: np.ndarray) -> None:
    path = write(tmp_path / "a.jpg", encode(Image.fromarray(gradient), "PNG"))
    np.testing.assert_array_equal(read_image(path), gradient)


def test_sixteen_bits_are_cut_to_eight(tmp_path: Path, gradient: np.ndarray) -> None:
    deep = gradient[..., 0].astype(np.uint16) * 256 + 200
    path = write(tmp_path / "a.png", encode(Image.fromarray(deep), "PNG"))
    np.testing.assert_array_equal(read_image(path), np.repeat(gradient[..., :1], 3, axis=2))


def test_a_grey_image_fills_three_channels_or_one(tmp_path: Path, gradient: np.ndarray) -> None:
    grey = gradient[..., 0]
    path = write(tmp_path / "a.png", encode(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(read_image(path, 3), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_image(path, 1), grey[..., None])


def test_a_colour_image_for_a_grey_model_becomes_its_luma(tmp_path: Path, gradient: np.ndarray) -> None:
    path = write(tmp_path / "a.png", encode(Image.fromarray(gradient), "PNG"))
    luma = gradient @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's mode L
    assert np.abs(read_image(path, 1)[..., 0] - luma).max() <= 1


def test_a_cmyk_jpeg_has_the_colours_pillow_gives_it(tmp_path: Path, gradient: np.ndarray) -> None:
    cmyk = Image.fromarray(gradient).convert("CMYK")
    path = write(tmp_path / "a.jpg", encode(cmyk, "JPEG", quality=95))
    pillow = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert np.abs(read_image(path) - pillow).max() <= 3


def test_a_palette_becomes_its_colours(tmp_path: Path, gradient: np.ndarray) -> None:
    palette = Image.fromarray(gradient).quantize(64)
    path = write(tmp_path / "a.png", encode(palette, "PNG"))
    np.testing.assert_array_equal(read_image(path), np.asarray(palette.convert("RGB")))


def test_alpha_is_dropped(tmp_path: Path, gradient: np.ndarray) -> None:
    see_through = np.dstack([gradient, gradient[..., 0]])
    path = write(tmp_path / "a.png", encode(Image.fromarray(see_through), "PNG"))
    np.testing.assert_array_equal(read_image(path), gradient)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_on_its_side_is_put_upright(tmp_path: Path, gradient: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a.jpg", encode(Image.fromarray(gradient), "JPEG", quality=95, exif=exif))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path))).astype(int)
    pixels = read_image(path)
    assert pixels.shape == upright.shape
    assert np.abs(pixels - upright).max() <= 2
    assert read_image(path, 1).shape == (*upright.shape[:2], 1)


def test_a_missing_file_is_a_row_with_status_missing(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "a.jpg") == (Status.MISSING, f"{tmp_path}/a.jpg: no such file.")


def test_a_vanished_folder_is_storage_trouble(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the image folder is not there"):
        read_image(tmp_path / "unmounted" / "a.jpg")


def test_an_empty_file_is_unreadable(tmp_path: Path) -> None:
    status, reason = reason_of(write(tmp_path / "a.jpg", b""))
    assert (status, reason) == (Status.UNREADABLE, f"{tmp_path}/a.jpg: the file is empty.")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
def test_a_file_that_was_cut_short_is_unreadable(
    tmp_path: Path, gradient: np.ndarray, kind: str, kept: float
) -> None:
    data = encode(Image.fromarray(gradient), kind)
    status, reason = reason_of(write(tmp_path / "a", data[: int(len(data) * kept)]))
    assert status == Status.UNREADABLE
    assert f"{kind} of" in reason
    assert "damaged or cut short" in reason


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WAVEfmt ", b"II*\0\xff\xff"]
)
def test_a_header_that_breaks_off_is_unreadable(tmp_path: Path, data: bytes) -> None:
    assert reason_of(write(tmp_path / "a.jpg", data))[0] == Status.UNREADABLE


def test_text_with_an_image_name_is_no_image(tmp_path: Path) -> None:
    status, reason = reason_of(write(tmp_path / "a.jpg", b"hello world"))
    assert status == Status.UNREADABLE
    assert "no image: 11 bytes that begin with b'hello wo'" in reason


def test_more_pixels_than_allowed_are_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.images.cv2.imdecode", lambda *_: pytest.fail("a decoder was called"))
    status, reason = reason_of(write(tmp_path / "a.png", png_that_claims(50_000, 50_000)))
    assert status == Status.TOO_LARGE
    assert "50000×50000 = 2,500,000,000 pixels, more than 100,000,000" in reason


def test_exactly_as_many_pixels_as_allowed_are_read(tmp_path: Path, gradient: np.ndarray) -> None:
    path = write(tmp_path / "a.png", encode(Image.fromarray(gradient), "PNG"))
    assert read_image(path, max_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)
    assert reason_of(path, max_pixels=HEIGHT * WIDTH - 1)[0] == Status.TOO_LARGE


def test_a_file_larger_than_its_pixels_could_be_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    os.truncate(path, 1 << 30)  # sparse
    status, reason = reason_of(path)
    assert status == Status.TOO_LARGE
    assert "1,073,741,824 bytes" in reason


def test_a_folder_named_like_an_image_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    assert reason_of(tmp_path / "x.jpg") == (Status.UNREADABLE, f"{tmp_path}/x.jpg: no regular file.")


@pytest.mark.timeout(10)
def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    assert reason_of(tmp_path / "x.jpg")[0] == Status.UNREADABLE


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("x.jpg")
    assert reason_of(tmp_path / "x.jpg")[0] == Status.UNREADABLE


def test_a_dangling_link_is_a_missing_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").symlink_to("gone.jpg")
    assert reason_of(tmp_path / "x.jpg")[0] == Status.MISSING


def test_a_read_that_fails_is_storage_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.jpg", b"x")

    def fail(self: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(StorageError, match="reading failed: Input/output error"):
        read_image(path)


def test_preparing_reads_resizes_and_scales(tmp_path: Path) -> None:
    pixels = np.repeat(np.array([[[255, 0, 51]]], np.uint8), 10, axis=1)
    path = write(tmp_path / "a.png", encode(Image.fromarray(pixels), "PNG"))
    prepared = prepare_image(path, InputSpec((3, 2), scale="0..1"))
    np.testing.assert_allclose(prepared, np.broadcast_to([1, 0, 0.2], (3, 2, 3)), rtol=1e-6)
