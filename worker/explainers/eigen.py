"""The principal component of the feature maps: no class, no gradient."""

from typing import Any

import tensorflow as tf

_SQUARINGS = 12


def eigencam(feature_maps: Any) -> Any:
    """Project each pixel on the first right singular vector (Eigen-CAM, Muhammad and Yeasin 2020, eq. 4).

    With A, (height·width, channels), an image's feature maps, not centred: M = A·v₁. A singular vector's
    sign is arbitrary; here the map's sum is never negative. v₁ is found by squaring the smaller of A·Aᵀ and
    Aᵀ·A twelve times, so up to a share (σ₂/σ₁)^8192 of v₂; XLA's own decomposition takes many times longer.

    Args:
        feature_maps: float32 (batch, height, width, channels), the layer's output.

    Returns:
        float32 (batch, height, width), the same for every target; zero where all feature maps are.
    """
    height, width, channels = feature_maps.shape[1:]
    pixels = tf.reshape(feature_maps, (-1, height * width, channels))
    if height * width <= channels:
        left = _first_eigenvector(tf.matmul(pixels, pixels, transpose_b=True))
        right = _unit(tf.matmul(pixels, left, transpose_a=True))
    else:
        right = _unit(_first_eigenvector(tf.matmul(pixels, pixels, transpose_a=True)))
    projected = tf.matmul(pixels, right)
    upright = tf.where(tf.reduce_sum(projected, 1, keepdims=True) < 0, -projected, projected)
    return tf.reshape(upright, (-1, height, width))


def _first_eigenvector(gram: Any) -> Any:
    """Return (batch, n, 1), along the first eigenvector of each symmetric (n, n): the longest column."""
    power = _bounded(gram)
    for _ in range(_SQUARINGS):
        power = _bounded(tf.matmul(power, power))
    longest = tf.argmax(tf.linalg.diag_part(power), axis=1)
    return tf.gather(power, longest, axis=2, batch_dims=1)[..., None]


def _bounded(matrices: Any) -> Any:
    """Scale each to a largest value of 1, so that no power overflows."""
    return tf.math.divide_no_nan(matrices, tf.reduce_max(tf.abs(matrices), (1, 2), keepdims=True))


def _unit(vectors: Any) -> Any:
    return tf.math.divide_no_nan(vectors, tf.norm(vectors, axis=1, keepdims=True))
