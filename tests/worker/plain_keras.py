"""The oracle, written apart from camshard: CAM by a loop over channels, Grad-CAM as keras.io has it."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tiny_models import Net

Forward = Callable[[Any], tuple[Any, Any]]


def forward_to_logits(net: Net, layer: str) -> Forward:
    """Return images → (the layer's feature maps, logits), the last weights applied by hand."""
    both = keras.Model(net.model.inputs[0], [net.model.get_layer(layer).output, net.before])

    def forward(images: Any) -> tuple[Any, Any]:
        maps, before = both(images, training=False)
        return maps, before if net.dense is None else before @ net.dense.kernel + net.dense.bias

    return forward


def plain_logits(net: Net, images: np.ndarray) -> np.ndarray:
    """Return float32 (n, outputs)."""
    return forward_to_logits(net, "conv2")(images)[1].numpy()


def plain_cam(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (height, width) from one image's maps (height, width, channels) and one class's weights."""
    cam = np.zeros(maps.shape[:2], np.float32)
    for channel, weight in enumerate(weights):
        cam += weight * maps[:, :, channel]
    return cam


def plain_gradcam(images: np.ndarray, forward: Forward, targets: Sequence[int]) -> np.ndarray:
    """Return (n, height, width): one image at a time, without the ReLU."""
    attributions = []
    for image, target in zip(images, targets, strict=True):
        with tf.GradientTape() as tape:
            maps, scores = forward(image[None])
            score = scores[0, target]
        gradients = tape.gradient(score, maps).numpy()[0]
        attributions.append((maps.numpy()[0] * gradients.mean(axis=(0, 1))).sum(axis=2))
    return np.array(attributions)


def assert_near(actual: np.ndarray, expected: np.ndarray, relative: float = 1e-4) -> None:
    """Check that nothing differs by more than a share of the largest expected value, which is not 0."""
    assert actual.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(actual - expected).max() <= relative * largest
