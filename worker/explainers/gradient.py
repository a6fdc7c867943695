"""Methods that weigh feature maps by the gradient of the score."""

from typing import Any

import tensorflow as tf


def gradcam(feature_maps: Any, gradients: Any) -> Any:
    """Weigh each channel by its mean gradient (Grad-CAM, Selvaraju et al. 2017, eq. 1 and 2, no ReLU).

    α_k = 1/(height·width) Σ_yx g_k(y, x);  L(y, x) = Σ_k α_k · f_k(y, x). The mean is each image's own.

    Args:
        feature_maps: float32 (batch, height, width, channels), the layer's output.
        gradients: float32, same shape, d score / d feature_maps.

    Returns:
        float32 (batch, height, width), signed, in units of the score.
    """
    weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.einsum("bhwk,bk->bhw", feature_maps, weights)
