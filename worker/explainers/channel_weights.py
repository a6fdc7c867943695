"""Methods that give each channel one weight, made of the gradients of the score."""

from typing import Any

import tensorflow as tf

_PIXELS = (2, 3)


def gradcam(feature_maps: Any, gradients: Any) -> Any:
    """Weigh each channel by its mean gradient (Grad-CAM, Selvaraju et al. 2017, eq. 1 and 2, no ReLU).

    α_k = 1/(height·width) Σ_yx g_k(y, x);  L(y, x) = Σ_k α_k · f_k(y, x). The mean is each image's own.

    Args:
        feature_maps: float32 (batch, height, width, channels), the layer's output.
        gradients: float32 (batch, ranks, height, width, channels), d score / d feature_maps; or
            (batch, ranks, 1, 1, channels) where they are the same at every pixel.

    Returns:
        float32 (batch, ranks, height, width), signed, in units of the score.
    """
    return _weigh(feature_maps, tf.reduce_mean(gradients, _PIXELS))


def gradcam_plusplus(feature_maps: Any, gradients: Any) -> Any:
    """Weigh each channel by its positive gradients (Grad-CAM++, Chattopadhay et al. 2018, eq. 10 and 19).

    w_k = Σ_yx a_k(y, x) · ReLU(g_k(y, x)) with a = g² / (2·g² + S_k·g³), S_k = Σ_yx f_k(y, x), which is
    1 / (2 + S_k·g) wherever ReLU(g) is not 0; no ReLU over the sum. As in the paper, higher derivatives
    are those of the exponential of the score, and its factor exp(score), the same for all channels, is
    left out. Where the denominator is 0, which takes negative feature maps, the pixel counts as 0.

    Args, returns: as `gradcam`.
    """
    sums = tf.reduce_sum(feature_maps, (1, 2))[:, None, None, None, :]
    terms = tf.math.divide_no_nan(tf.nn.relu(gradients), 2 + sums * gradients)
    num_pixels = tf.cast(tf.reduce_prod(tf.shape(feature_maps)[1:3]), terms.dtype)
    return _weigh(feature_maps, tf.reduce_mean(terms, _PIXELS) * num_pixels)


def xgradcam(feature_maps: Any, gradients: Any) -> Any:
    """Weigh each channel by its gradients where it is active (XGrad-CAM, Fu et al. 2020, eq. 8).

    α_k = Σ_yx g_k(y, x) · f_k(y, x) / Σ_yx f_k(y, x), and 0 for a channel whose sum is 0; no ReLU.

    Args, returns: as `gradcam`.
    """
    maps = feature_maps[:, None]
    weights = tf.math.divide_no_nan(tf.reduce_sum(gradients * maps, _PIXELS), tf.reduce_sum(maps, _PIXELS))
    return _weigh(feature_maps, weights)


def _weigh(feature_maps: Any, weights: Any) -> Any:
    """Return Σ_k w_k · f_k of weights (batch, ranks, channels)."""
    return tf.einsum("bhwk,brk->brhw", feature_maps, weights)
