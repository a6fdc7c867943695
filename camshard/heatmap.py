"""Attributions made for the eye: scaled, and resized to lie over the image."""

from numbers import Integral
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import RequestError
from shared.images import Region, input_region
from shared.model_spec import InputSpec

Floats = NDArray[np.float32]
Size = tuple[int, int]

NORMALIZATIONS = ("relu", "max", "none")


def make_heatmap(attribution: Floats, spec: InputSpec, size: Size | None, normalize: str = "relu") -> Floats:
    """Scale one attribution and resize it with half-pixel centres, bilinearly.

    Args:
        attribution: float32 (height, width), signed.
        spec: how the model saw the image: where that was cut or padded, the heatmap still covers the whole
            image, zero where the model saw nothing.
        size: (height, width) of the image; None for the model's input, as the model saw it.
        normalize: `relu`: negative values 0, divided by the maximum; `max`: divided by the largest absolute
            value, signed; `none`: as it is. All zero stays zero.

    Returns:
        float32 of that size, within 0..1 (`relu`) or -1..1 (`max`); NaN where the attribution is.

    Raises:
        RequestError: no such normalization, or a size without pixels.
    """
    scaled = _scale(attribution, normalize)
    if size is None or spec.resize == "stretch":
        return _resize(scaled, size or spec.size)
    return _lay_over(scaled, input_region(size, spec), size)


def checked_size(size: Any) -> Any:
    """Return None, `image`, or (height, width) as integers.

    Raises:
        RequestError: it is nothing of these.
    """
    if size is None or (isinstance(size, str) and size == "image"):
        return size
    if np.shape(size) != (2,) or not all(isinstance(side, Integral) and int(side) > 0 for side in size):
        raise RequestError(f"size: (height, width) in pixels is wanted, or 'image', received {size!r}.")
    return int(size[0]), int(size[1])


def _scale(attribution: Floats, normalize: str) -> Floats:
    if normalize not in NORMALIZATIONS:
        raise RequestError(f"normalize: {normalize!r} is not known. There are: {', '.join(NORMALIZATIONS)}.")
    if normalize == "none":
        return attribution
    values = np.maximum(attribution, 0) if normalize == "relu" else attribution
    highest = np.abs(values).max()
    return np.asarray(values / highest if highest > 0 else values, np.float32)


def _resize(values: Floats, size: Size) -> Floats:
    height, width = size
    return np.asarray(
        cv2.resize(values, (int(width), int(height)), interpolation=cv2.INTER_LINEAR), np.float32
    )


def _lay_over(scaled: Floats, region: Region, size: Size) -> Floats:
    """Resize a heatmap to the region of the image that the model saw; elsewhere it is zero."""
    resized = _resize(scaled, (region.height, region.width))
    canvas = np.zeros(size, np.float32)
    top, left = max(region.top, 0), max(region.left, 0)
    inside = resized[max(-region.top, 0) :, max(-region.left, 0) :][: size[0] - top, : size[1] - left]
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas
