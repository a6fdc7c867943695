"""Class activation maps: for global average pooling followed by one linear layer."""

from typing import Any

import tensorflow as tf


def cam(feature_maps: Any, class_weights: Any) -> Any:
    """Sum the feature maps with the weights of each target class (CAM, Zhou et al. 2016, eq. 2).

    M_c(y, x) = Σ_k w_k^c · f_k(y, x), one product of matrices instead of a loop over channels.

    Args:
        feature_maps: float32 (batch, height, width, channels), what enters the pooling.
        class_weights: float32 (batch, ranks, channels), d logit / d pooled value.

    Returns:
        float32 (batch, ranks, height, width), signed; its mean over the pixels is the logit less its bias.
    """
    return tf.einsum("bhwk,brk->brhw", feature_maps, class_weights)


def gradcam_of_pooled_linear_head(feature_maps: Any, class_weights: Any) -> Any:
    """Return Grad-CAM where average pooling and one linear layer follow: CAM / (height·width).

    There d logit / d f_k(y, x) = w_k / (height·width) at every pixel (Selvaraju et al. 2017, sec. 3.1).

    Args, returns: as `cam`; in units of the logit.
    """
    pixels = tf.cast(tf.shape(feature_maps)[1] * tf.shape(feature_maps)[2], tf.float32)
    return cam(feature_maps, class_weights) / pixels
