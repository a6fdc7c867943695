"""Predictions, CAM and Grad-CAM computed apart from camshard: plain Keras, NumPy and GradientTape."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np


@dataclass(frozen=True)
class Expected:
    """float32: probabilities (n, classes); cam and gradcam (n, classes, height, width)."""

    probabilities: np.ndarray
    cam: np.ndarray
    gradcam: np.ndarray


def expected_results(model_path: Path, image_paths: list[Path], last: str, size: tuple[int, int]) -> Expected:
    """Compute all classes for a model with GlobalAveragePooling2D and one softmax Dense layer, scale 0..1."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(model_path, compile=False)
    pixels = read_pixels(image_paths, size) / 255
    both = keras.Model(model.input, [model.get_layer(last).output, model.output])
    kernel, bias = model.layers[-1].get_weights()
    cams, gradcams = [], []
    for image in pixels:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            maps, _ = both(image[None], training=False)
            tape.watch(maps)
            logits = tf.reduce_mean(maps, axis=(1, 2)) @ kernel + bias
            scores = [logits[0, index] for index in range(kernel.shape[1])]
        features = maps.numpy()[0]
        cams.append([_cam_by_loop(features, kernel[:, index]) for index in range(kernel.shape[1])])
        gradcams.append([_gradcam(features, tape.gradient(score, maps).numpy()[0]) for score in scores])
    return Expected(model.predict(pixels, verbose=0), np.array(cams), np.array(gradcams))


def plain_gradcam(model: Any, inputs: Sequence[np.ndarray], layer: str, targets: Sequence[int]) -> np.ndarray:
    """Return (n, height, width) of a Keras model that ends in one Dense layer: one image at a time, no ReLU.

    Args:
        inputs: (n, …) for each input of the model.
        targets: the output whose logit is explained, for each image.
    """
    import keras
    import tensorflow as tf

    head = model.layers[-1]
    both = keras.Model(model.inputs, [model.get_layer(layer).output, head.input])
    attributions = []
    for row, target in enumerate(targets):
        values = [tf.constant(one[row : row + 1]) for one in inputs]
        with tf.GradientTape() as tape:
            tape.watch(values)  # or nothing would be recorded before the first weight that is not frozen
            maps, before = both(values, training=False)
            score = (before @ head.kernel + head.bias)[0, target]
        attributions.append(_gradcam(maps.numpy()[0], tape.gradient(score, maps).numpy()[0]))
    return np.array(attributions)


def read_pixels(image_paths: Sequence[Path], size: tuple[int, int], channels: int = 3) -> np.ndarray:
    """Return float32 (n, height, width, channels) of 0..255, resized without keeping the aspect."""
    prepared = []
    for path in image_paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB)
        prepared.append(cv2.resize(pixels.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR))
    return np.stack(prepared).reshape(-1, *size, channels)


def _cam_by_loop(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    cam = np.zeros(features.shape[:2], np.float32)
    for channel, weight in enumerate(weights):
        cam += weight * features[:, :, channel]
    return cam


def _gradcam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return (features * gradients.mean(axis=(0, 1))).sum(axis=2)
