"""How far the systems' Grad-CAM maps agree: same network, same images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.peers.case import STAGES

_RESIZED_BY = {"pytorch_grad_cam": "bilinear", "xplique": "bicubic"}  # maps come at the input's size
Agreement = dict[str, float]


def compare(folder: Path, name: str, reference: str) -> dict[str, Agreement]:
    """Compare a system's maps with the reference's, by layer: over all images the worst of each figure.

    Both are put through the ReLU and scaled to 0..1; where a system resizes its maps, the reference's
    are resized likewise. Maps that are 0 everywhere in both have no correlation and are left out.
    """
    with np.load(folder / f"{reference}.npz") as expected, np.load(folder / f"{name}.npz") as found:
        return {layer: _worst(list(_pairs(expected[layer], found[layer], name))) for layer in STAGES}


def _pairs(
    reference_maps: np.ndarray, maps: np.ndarray, name: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    reference_maps = np.maximum(reference_maps, 0)
    if reference_maps.shape != maps.shape:
        reference_maps = _resize(reference_maps, maps.shape[1:], _RESIZED_BY[name])
    for expected, found in zip(reference_maps, maps, strict=True):
        if expected.max() > 0 or found.max() > 0:
            yield _scale(expected), _scale(found)


def _worst(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Agreement:
    correlations = [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs]
    differences = [float(np.abs(a - b).max()) for a, b in pairs]
    return {
        "maps": len(pairs),
        "lowest_correlation": min(correlations, default=np.nan),
        "largest_difference": max(differences, default=np.nan),
    }


def _resize(maps: np.ndarray, size: tuple[int, ...], method: str) -> np.ndarray:
    import tensorflow as tf

    return tf.image.resize(maps[..., None], size, method=method).numpy()[..., 0]


def _scale(one: np.ndarray) -> np.ndarray:
    positive = np.maximum(one, 0).astype(np.float64)
    lowest, highest = positive.min(), positive.max()
    return (positive - lowest) / (highest - lowest) if highest > lowest else positive
