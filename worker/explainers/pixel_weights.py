"""Methods that weigh each pixel of each channel by its own gradient."""

from typing import Any

import tensorflow as tf


def hirescam(feature_maps: Any, gradients: Any) -> Any:
    """Multiply feature maps and gradients (HiResCAM, Draelos and Carin 2020, eq. 5).

    M(y, x) = Σ_k g_k(y, x) · f_k(y, x).

    Args:
        feature_maps: float32 (batch, height, width, channels), the layer's output.
        gradients: float32 (batch, ranks, height, width, channels), d score / d feature_maps; or
            (batch, ranks, 1, 1, channels) where they are the same at every pixel.

    Returns:
        float32 (batch, ranks, height, width), signed, in units of the score.
    """
    return tf.reduce_sum(gradients * feature_maps[:, None], -1)


def layercam(feature_maps: Any, gradients: Any) -> Any:
    """Multiply feature maps and positive gradients (LayerCAM, Jiang et al. 2021, eq. 5 to 7).

    M(y, x) = Σ_k ReLU(g_k(y, x)) · f_k(y, x), no ReLU over the sum.

    Args, returns: as `hirescam`.
    """
    return tf.reduce_sum(tf.nn.relu(gradients) * feature_maps[:, None], -1)
