"""Resizing and scaling, checked against Pillow and against formulas worked by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.images import Region, input_region, read_image, resize_image, scale_pixels
from shared.model_spec import InputSpec

HEIGHT, WIDTH = 60, 80


def test_nearest_equals_pillow_on_made_images() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        height, width, out_height, out_width = rng.integers(1, 90, 4)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        spec = InputSpec((int(out_height), int(out_width)), interpolation="nearest")
        pillow = Image.fromarray(pixels).resize((out_width, out_height), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(resize_image(pixels, spec), np.asarray(pillow))


@pytest.mark.parametrize("size", [(224, 224), (64, 100), (299, 31)])
def test_nearest_equals_pillow_on_forty_real_images(shared_data: Path, size: tuple[int, int]) -> None:
    paths = sorted((shared_data / "ham10000" / "images").glob("*.jpg"))[:40]
    assert len(paths) == 40
    for path in paths:
        pixels = read_image(path)
        pillow = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.NEAREST)
        np.testing.assert_array_equal(
            resize_image(pixels, InputSpec(size, interpolation="nearest")), np.asarray(pillow)
        )


def bilinear_weights(size: int, out_size: int) -> np.ndarray:
    """Weights (out_size, size) of bilinear interpolation with half-pixel centres, edges repeated."""
    weights = np.zeros((out_size, size))
    for row in range(out_size):
        centre = (row + 0.5) * size / out_size - 0.5
        low = int(np.floor(centre))
        for source, weight in ((low, 1 - (centre - low)), (low + 1, centre - low)):
            weights[row, min(max(source, 0), size - 1)] += weight
    return weights


@pytest.mark.parametrize("size", [(24, 24), (90, 200), (60, 37)])
def test_bilinear_is_the_half_pixel_formula(gradient: np.ndarray, size: tuple[int, int]) -> None:
    rows, columns = bilinear_weights(HEIGHT, size[0]), bilinear_weights(WIDTH, size[1])
    wanted = np.einsum("yh,xw,hwc->yxc", rows, columns, gradient)
    got = resize_image(gradient, InputSpec(size, interpolation="bilinear"))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_area_averages_blocks() -> None:
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    got = resize_image(pixels, InputSpec((2, 2), channels=1, interpolation="area"))
    np.testing.assert_array_equal(got[..., 0], [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.parametrize(
    ("resize", "region"),
    [
        ("stretch", Region(0, 0, 60, 80)),
        ("crop", Region(0, 10, 60, 60)),
        ("pad", Region(-10, 0, 80, 80)),
    ],
)
def test_what_a_square_model_sees_of_a_wide_image(resize: str, region: Region) -> None:
    assert input_region((60, 80), InputSpec((224, 224), resize=resize)) == region


def test_crop_keeps_the_middle_and_pad_adds_black() -> None:
    pixels = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.uint8)[..., None]
    crop = InputSpec((2, 2), channels=1, resize="crop", interpolation="nearest")
    np.testing.assert_array_equal(resize_image(pixels, crop)[..., 0], [[2, 3], [6, 7]])
    pad = InputSpec((4, 4), channels=1, resize="pad", interpolation="nearest")
    wanted = [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 0]]
    np.testing.assert_array_equal(resize_image(pixels, pad)[..., 0], wanted)


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_an_extreme_aspect_still_gives_the_size(resize: str) -> None:
    line = np.full((1, 500, 3), 9, np.uint8)
    assert resize_image(line, InputSpec((8, 8), resize=resize)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [
        ("0..255", [255, 51, 0]),
        ("0..1", [1, 0.2, 0]),
        ("-1..1", [1, -0.6, -1]),
        ("caffe", [0 - 103.939, 51 - 116.779, 255 - 123.68]),
        ("torch", [(1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0 - 0.406) / 0.225]),
    ],
)
def test_scales_are_those_of_keras_applications(scale: str, wanted: list[float]) -> None:
    scaled = scale_pixels(np.array([[[255, 51, 0]]], np.float32), scale)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[0, 0], wanted, rtol=1e-5)
