"""How alike two attributions are: Pearson's correlation over their pixels, whatever their sizes."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def correlate(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> Floats:
    """Return Pearson's correlation over the pixels of each pair of maps.

    Args:
        ours, theirs: (n, height, width), raw; resized to the larger height and width where they differ.

    Returns:
        float64 (n,), within -1..1; NaN where a map has NaN or infinite values, or only one value.
    """
    size = larger_size(ours.shape[1:], theirs.shape[1:])
    a, b = (_centred(resize_bilinear(_varying(one), size)) for one in (ours, theirs))
    products = np.einsum("np,np->n", a, b)
    lengths = np.sqrt(np.einsum("np,np->n", a, a) * np.einsum("np,np->n", b, b))
    return np.asarray(np.clip(products / np.where(lengths > 0, lengths, np.nan), -1, 1))


def resize_bilinear(maps: Floats, size: tuple[int, int]) -> Floats:
    """Enlarge maps (n, height, width), bilinearly with half-pixel centres and the edge held."""
    _, height, width = maps.shape
    if (height, width) == size:
        return maps
    return np.asarray(_interpolation(height, size[0]) @ maps @ _interpolation(width, size[1]).T)


def _interpolation(size: int, new_size: int) -> Floats:
    """Return the weights of `size` pixels for each of `new_size`: (new_size, size)."""
    at = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size))))


def _varying(maps: NDArray[np.float32]) -> Floats:
    """Return maps as float64, those that are not finite or have only one value as NaN."""
    finite = np.isfinite(maps).all(axis=(1, 2))
    varying = finite & (maps.max(axis=(1, 2)) > maps.min(axis=(1, 2)))
    return np.where(varying[:, None, None], maps, np.nan).astype(np.float64)


def _centred(maps: Floats) -> Floats:
    flat = maps.reshape(len(maps), -1)
    return np.asarray(flat - flat.mean(axis=1, keepdims=True))


def larger_size(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, int]:
    """Return the larger height and the larger width of two sizes."""
    return max(one[0], other[0]), max(one[1], other[1])
