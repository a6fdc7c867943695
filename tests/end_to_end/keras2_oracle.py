"""What Keras 2 itself makes of a model with one sigmoid unit: run as a process of its own, with tf-keras.

`python keras2_oracle.py MODEL.hdf5 LAYER IMAGES.npy RESULTS.npz [--train LABELS.npy]` takes images float32
(n, height, width, 1) and leaves the positive class's probability (n,) and Grad-CAM at the layer
(n, height, width). With labels, 0 or 1, it trains a small model first, which ModelCheckpoint writes.
"""

import argparse

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers


def build(shape):
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, strides=2, padding="same", input_shape=shape),
            layers.BatchNormalization(axis=[3]),
            layers.LeakyReLU(alpha=0.1),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="maps"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def train(images, labels, path):
    """Train as notebooks do, which keep the best epoch's whole model."""
    keras.utils.set_random_seed(4)
    model = build(images.shape[1:])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    model.fit(images, labels, batch_size=16, epochs=4, callbacks=[checkpoint], verbose=0)


def gradcams(model, layer, images):
    both = keras.Model(model.input, [model.get_layer(layer).output, model.layers[-1].input])
    kernel, bias = model.layers[-1].weights
    found = []
    for image in images:
        with tf.GradientTape() as tape:
            maps, before = both(image[None], training=False)
            score = (before @ kernel + bias)[0, 0]
        weights = tape.gradient(score, maps).numpy()[0].mean(axis=(0, 1))
        found.append((maps.numpy()[0] * weights).sum(axis=2))
    return np.array(found)


def main():
    parser = argparse.ArgumentParser()
    for name in ("model", "layer", "images", "results"):
        parser.add_argument(name)
    parser.add_argument("--train", metavar="LABELS")
    given = parser.parse_args()
    images = np.load(given.images)
    if given.train:
        train(images, np.load(given.train), given.model)
    model = keras.models.load_model(given.model, compile=False)
    probabilities = model.predict(images, verbose=0)[:, 0]
    np.savez(given.results, probabilities=probabilities, gradcam=gradcams(model, given.layer, images))


if __name__ == "__main__":
    main()
