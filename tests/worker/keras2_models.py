"""Models as Keras 2 saves them: run as a process of its own, with tf-keras, into a folder.

Each is NAME.h5, a whole model, and NAME.npy, what it predicts for images.npy;
NAME_weights.h5 has weights alone.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

SIZE = 32


def maps_of(inputs):
    maps = layers.Conv2D(6, 3, 2, padding="same", activation=tf.nn.relu6, name="c1")(inputs)
    maps = layers.DepthwiseConv2D(3, padding="same", depthwise_regularizer="l2", name="c2")(maps)
    maps = layers.LeakyReLU(0.2)(layers.BatchNormalization()(maps))
    return layers.SeparableConv2D(8, 3, padding="same", name="c3")(maps)


def backbone(size=SIZE):
    inputs = keras.Input((size, size, 3))
    return keras.Model(inputs, maps_of(inputs), name="backbone")


def head(maps):
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(maps))


def functional(maps_of_inputs):
    inputs = keras.Input((SIZE, SIZE, 3))
    return keras.Model(inputs, head(maps_of_inputs(inputs)))


def preprocessed(inputs):
    """As keras.applications' preprocess_input does in a Functional model: caffe's, then torch's and tf's."""
    swapped = inputs[..., ::-1] * 255.0
    shifted = tf.nn.bias_add(swapped, [-103.939, -116.779, -123.68])
    scaled = 1.0 - shifted / 127.5
    return tf.clip_by_value(scaled + tf.reduce_mean(scaled, axis=-1, keepdims=True), -3.0, 3.0)


def mixed():
    keras.mixed_precision.set_global_policy("mixed_float16")
    inputs = keras.Input((SIZE, SIZE, 3))
    maps = layers.Conv2D(8, 3, activation="relu", name="c3")(inputs)
    outputs = layers.Activation("softmax", dtype="float32")(
        layers.Dense(3)(layers.GlobalAveragePooling2D()(maps))
    )
    keras.mixed_precision.set_global_policy("float32")
    return keras.Model(inputs, outputs)


def frozen():
    frozen = backbone()
    frozen.trainable = False
    return keras.Sequential(
        [frozen, layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(3, "softmax")]
    )


def with_shape():
    return keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(SIZE, SIZE, 3), name="c3"),
            layers.Flatten(),
            layers.Dense(2, "softmax"),
        ]
    )


def without_input():
    model = keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", name="c3"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model(np.zeros((1, SIZE, SIZE, 3), np.float32))
    return model


def siamese():
    """The same backbone twice, a nested Sequential, and augmentation."""
    shared, inputs = backbone(), keras.Input((SIZE, SIZE, 3))
    scaling = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Rescaling(2.0, -1.0)])
    flipped = layers.RandomRotation(0.1)(layers.RandomFlip()(inputs))
    return keras.Model(inputs, head(layers.Subtract()([shared(flipped), shared(scaling(flipped))])))


def with_lambda():
    return functional(lambda inputs: maps_of(layers.Lambda(lambda x: 2 * x)(inputs)))


BUILDERS = {
    "flat": lambda: functional(maps_of),
    "nested": lambda: functional(lambda inputs: backbone(None)(inputs, training=False)),
    "frozen": frozen,
    "operations": lambda: functional(lambda inputs: backbone()(preprocessed(inputs))),
    "with_shape": with_shape,
    "without_input": without_input,
    "siamese": siamese,
    "mixed": mixed,
    "lambda": with_lambda,
}


def application(flat):
    """MobileNetV2 with an average pooled head: flat, or as a frozen layer of a Sequential."""
    net = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    if flat:
        return keras.Model(net.input, head(net.output))
    net.trainable = False
    return keras.Sequential([net, layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")])


def main(folder):
    keras.utils.set_random_seed(3)
    images = np.random.default_rng(5).random((4, SIZE, SIZE, 3), np.float32)
    np.save(folder / "images.npy", images)
    for name, build in BUILDERS.items():
        model = build()
        if name != "lambda":
            model.compile("adam", "categorical_crossentropy")
        model.save(folder / f"{name}.h5", save_format="h5")
        np.save(folder / f"{name}.npy", model.predict(images, verbose=0))
    for name, flat in (("application", True), ("application_frozen", False)):
        model = application(flat)
        model.save_weights(folder / f"{name}_weights.h5")
        np.save(folder / f"{name}.npy", model.predict(images, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
