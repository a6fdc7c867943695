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
