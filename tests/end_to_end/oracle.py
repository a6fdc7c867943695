"""Predictions, CAM and Grad-CAM computed apart from camshard: plain Keras, NumPy and GradientTape."""

from dataclasses import dataclass
from pathlib import Path

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
    pixels = np.stack([_pixels(path, size) for path in image_paths])
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


def _pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    bgr = cv2.imread(str(path))
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.float32)
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) / 255


def _cam_by_loop(features: np.ndarray, weights: np.ndarray) -> np.ndarray:
    cam = np.zeros(features.shape[:2], np.float32)
    for channel, weight in enumerate(weights):
        cam += weight * features[:, :, channel]
    return cam


def _gradcam(features: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return (features * gradients.mean(axis=(0, 1))).sum(axis=2)
