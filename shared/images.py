"""Image files to float32 arrays: the one preprocessing that training and explaining share."""

import errno
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagesize
import numpy as np
from numpy.typing import NDArray

from shared.errors import CamshardError, StorageError
from shared.file_cache import FileCache
from shared.locations import Location, Url
from shared.model_spec import InputSpec
from shared.object_store import find_object, read_object
from shared.status import Status

MAX_PIXELS = 100_000_000
_MAX_BYTES_PER_PIXEL = 8  # four channels of 16 bits: no sound file is larger than its pixels
_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}
_INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
}
# keras.applications.imagenet_utils.preprocess_input, modes "caffe" (BGR) and "torch" (RGB)
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_STD = np.array([0.229, 0.224, 0.225], np.float32)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class ImageError(CamshardError):
    """One image cannot be used; its row says so and the others go on."""

    def __init__(self, status: Status, reason: str):
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Region:
    """The rectangle of an image, in its pixels, that becomes the model's input.

    It lies inside the image for `crop`, is the image for `stretch`, and reaches beyond it for `pad`.
    """

    top: int
    left: int
    height: int
    width: int


def prepare_image(
    path: Location, spec: InputSpec, max_pixels: int = MAX_PIXELS, cache: FileCache | None = None
) -> Floats:
    """Read one image file as the model wants it.

    Args:
        cache: where what URLs name is kept.

    Returns:
        float32 (height, width, channels) of `spec.size`, RGB (BGR for scale `caffe`) or grey, scaled.

    Raises:
        ImageError: the file is missing, damaged, too large or no image.
        StorageError: the storage under it failed.
    """
    pixels = read_image(path, spec.channels, max_pixels, cache)
    return scale_pixels(resize_image(pixels, spec), spec.scale)


def read_image(
    path: Location, channels: int = 3, max_pixels: int = MAX_PIXELS, cache: FileCache | None = None
) -> Pixels:
    """Decode an image file, upright (EXIF orientation applied), 16 bits cut to 8, alpha dropped.

    Returns:
        uint8 (height, width, channels): RGB for three channels, grey for one.

    Raises:
        ImageError: the file is missing, damaged, no image, or has more than `max_pixels` pixels;
            nothing is allocated for the pixels of a file that says it has more.
        StorageError: the storage under it failed.
    """
    data = _read_bytes(path, max_pixels) if isinstance(path, Path) else _fetch(path, max_pixels, cache)
    kind = next((kind for magic, kind in _FORMATS.items() if data.startswith(magic)), None)
    if kind is None:
        raise ImageError(
            Status.UNREADABLE,
            f"{path}: no image: {len(data)} bytes that begin with {data[:8]!r}. "
            f"Formats: {', '.join(sorted(set(_FORMATS.values())))}.",
        )
    _check_pixel_count(path, data, kind, max_pixels)
    return _decode(path, data, kind, channels)


def input_region(image_size: tuple[int, int], spec: InputSpec) -> Region:
    """Find which part of an image of `image_size` (height, width) the model sees."""
    height, width = image_size
    if spec.resize == "stretch":
        return Region(0, 0, height, width)
    target_height, target_width = spec.size
    pick = min if spec.resize == "crop" else max
    region_height = max(1, pick(height, round(width * target_height / target_width)))
    region_width = max(1, pick(width, round(height * target_width / target_height)))
    return Region((height - region_height) // 2, (width - region_width) // 2, region_height, region_width)


def resize_image(pixels: Pixels, spec: InputSpec) -> Floats:
    """Bring uint8 (height, width, channels) to float32 of `spec.size`, values still 0..255.

    `stretch` ignores the aspect; `crop` takes the largest centred part of the right aspect; `pad`
    adds black first. All interpolations but `nearest` work on floats, with half-pixel centres and
    without antialiasing (`area` averages), as `tf.image.resize` does; `cubic` takes OpenCV's and
    PyTorch's coefficient -0.75 where TensorFlow takes -0.5.
    """
    region = input_region(pixels.shape[:2], spec)
    framed = _cut_or_pad(pixels, region)
    if spec.interpolation != "nearest":
        framed = framed.astype(np.float32)
    height, width = spec.size
    resized = cv2.resize(framed, (width, height), interpolation=_INTERPOLATIONS[spec.interpolation])
    return resized.reshape(height, width, pixels.shape[2]).astype(np.float32, copy=False)


def scale_pixels(pixels: Floats, scale: str) -> Floats:
    """Scale float32 RGB or grey pixels of 0..255 (…, channels) in keras.applications' conventions."""
    if scale == "0..1":
        return pixels / np.float32(255)
    if scale == "-1..1":
        return pixels / np.float32(127.5) - np.float32(1)
    if scale == "caffe":
        return pixels[..., ::-1] - _CAFFE_MEAN_BGR
    if scale == "torch":
        return (pixels / np.float32(255) - _TORCH_MEAN) / _TORCH_STD
    return pixels


def _read_bytes(path: Path, max_pixels: int) -> bytes:
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(Status.UNREADABLE, f"{path}: no regular file.")
        _check_size(path, found.st_size, max_pixels)
        return path.read_bytes()
    except FileNotFoundError as error:
        if not path.parent.is_dir():
            raise StorageError(
                f"{path.parent}: the image folder is not there (any more). Is it mounted here? "
                "Where it is mounted elsewhere, give the worker --map OLD=NEW."
            ) from error
        raise ImageError(Status.MISSING, f"{path}: no such file.") from error
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ELOOP) and os.access(path.parent, os.X_OK):
            raise ImageError(Status.UNREADABLE, f"{path}: {error.strerror}.") from error
        raise StorageError(f"{path}: reading failed: {error.strerror}.") from error


def _fetch(url: Url, max_pixels: int, cache: FileCache | None) -> bytes:
    found = find_object(url)
    if found is None:
        raise ImageError(Status.MISSING, f"{url}: no such file.")
    if not found.is_file:
        raise ImageError(Status.UNREADABLE, f"{url}: no regular file.")
    if found.size is not None:
        _check_size(url, found.size, max_pixels)
    read = cache.read if cache else read_object
    data = read(found, max_pixels * _MAX_BYTES_PER_PIXEL)
    _check_size(url, len(data), max_pixels)
    return data


def _check_size(path: Location, num_bytes: int, max_pixels: int) -> None:
    if num_bytes == 0:
        raise ImageError(Status.UNREADABLE, f"{path}: the file is empty.")
    if num_bytes > max_pixels * _MAX_BYTES_PER_PIXEL:
        raise ImageError(
            Status.TOO_LARGE,
            f"{path}: {num_bytes:,} bytes, more than {max_pixels:,} pixels can take. "
            "Raise --max-pixels if it is sound.",
        )


def _check_pixel_count(path: Location, data: bytes, kind: str, max_pixels: int) -> None:
    try:
        width, height = imagesize.get(io.BytesIO(data))
    except Exception as error:  # a parser of foreign bytes may raise anything; all of it means this
        raise ImageError(Status.UNREADABLE, f"{path}: damaged {kind} header: {error}.") from error
    if width < 1 or height < 1:
        raise ImageError(Status.UNREADABLE, f"{path}: {kind} without a readable width and height.")
    if width * height > max_pixels:
        raise ImageError(
            Status.TOO_LARGE,
            f"{path}: {width}×{height} = {width * height:,} pixels, more than {max_pixels:,}. "
            "Raise --max-pixels if it is sound.",
        )


def _decode(path: Location, data: bytes, kind: str, channels: int) -> Pixels:
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise ImageError(Status.UNREADABLE, f"{path}: {kind} that OpenCV refuses: {error.err}.") from error
    if pixels is None:
        raise ImageError(
            Status.UNREADABLE,
            f"{path}: {kind} of {len(data):,} bytes that cannot be decoded: damaged or cut short.",
        )
    return np.asarray(pixels, np.uint8).reshape(*pixels.shape[:2], channels)


def _cut_or_pad(pixels: Pixels, region: Region) -> Pixels:
    if region.top < 0 or region.left < 0:
        after = (region.height - pixels.shape[0] + region.top, region.width - pixels.shape[1] + region.left)
        return np.pad(pixels, ((-region.top, after[0]), (-region.left, after[1]), (0, 0)))
    return pixels[region.top : region.top + region.height, region.left : region.left + region.width]
