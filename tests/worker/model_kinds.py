"""A model of each kind, beside the same computed by calling its layers one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tiny_models import CLASSES, lively

SIZE = (32, 32, 3)
Maps = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A model, and images → (feature maps by camshard's name of the layer, logits) written apart from it."""

    model: keras.Model
    forward: Callable[..., tuple[Maps, Any]]

    def at(self, layer: str, *others: Any) -> Callable[[Any], tuple[Any, Any]]:
        """Return images → (one layer's feature maps, logits), what else `forward` takes being `others`."""

        def forward(images: Any) -> tuple[Any, Any]:
            maps, logits = self.forward(images, *others)
            return maps[layer], logits

        return forward


class Squared(layers.Layer):
    """A layer class of one's own."""

    def call(self, inputs):
        return keras.ops.square(inputs)


class Classifier(keras.Model):
    """A model class of one's own, made of Keras layers and operators."""

    def __init__(self, stack: Sequence[Any], head: Any):
        super().__init__()
        self.stack, self.pool, self.head = stack, layers.GlobalAveragePooling2D(), head

    def call(self, inputs, training=False):
        maps = 2 * inputs
        for layer in self.stack:
            maps = layer(maps)
        return self.head(self.pool(maps))


def conv_stack(dtype: str = "float32") -> list[Any]:
    return [
        layers.Conv2D(6, 3, 2, padding="same", name="first", dtype=dtype),
        layers.BatchNormalization(dtype=dtype),
        layers.ReLU(dtype=dtype),
        layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="last", dtype=dtype),
    ]


def new_head() -> Any:
    return layers.Dense(CLASSES, "softmax", name="head")


def chain(stack: Sequence[Any], inputs: Any) -> Any:
    for layer in stack:
        inputs = layer(inputs)
    return inputs


def maps_of(stack: Sequence[Any], images: Any) -> Maps:
    """Call the layers one by one and keep what each makes, by its name."""
    found = {}
    for layer in stack:
        images = found[layer.name] = layer(images)
    return found


def logits_of(head: Any, last_maps: Any) -> Any:
    return tf.reduce_mean(last_maps, axis=(1, 2)) @ head.kernel + head.bias


def one_after_another(
    model: keras.Model, stack: Sequence[Any], head: Any, factor: float = 1.0, prefix: str = ""
) -> Kind:
    def forward(images: Any) -> tuple[Maps, Any]:
        maps = maps_of(stack, factor * images)
        return {prefix + name: value for name, value in maps.items()}, logits_of(head, maps["last"])

    return Kind(lively(model), forward)


def sequential_with_an_input() -> Kind:
    stack, head = conv_stack(), new_head()
    model = keras.Sequential([keras.Input(SIZE), *stack, layers.GlobalAveragePooling2D(), head])
    return one_after_another(model, stack, head)


def sequential_that_was_called() -> Kind:
    stack, head = conv_stack(), new_head()
    model = keras.Sequential([*stack, layers.GlobalAveragePooling2D(), head])
    model(np.zeros((1, *SIZE), np.float32))
    return one_after_another(model, stack, head)


def subclassed() -> Kind:
    stack, head = conv_stack(), new_head()
    model = Classifier(stack, head)
    model(np.zeros((1, *SIZE), np.float32))
    return one_after_another(model, stack, head, factor=2.0)


def nested_three_deep() -> Kind:
    """A model in a Sequential in a model in a model."""
    stack, head = conv_stack(), new_head()
    inputs = keras.Input(SIZE)
    inner = keras.Model(inputs, chain(stack, inputs), name="inner")
    middle = keras.Sequential([keras.Input(SIZE), layers.Rescaling(3.0), inner], name="middle")
    inputs = keras.Input(SIZE)
    outer = keras.Model(inputs, middle(inputs), name="outer")
    inputs = keras.Input(SIZE)
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(outer(inputs))))
    return one_after_another(model, stack, head, factor=3.0, prefix="outer/middle/inner/")


def backbone_used_twice() -> Kind:
    """On an image and on its negative; what is explained of each call is the share of that call alone."""
    stack, head = conv_stack(), new_head()
    inside, inputs = keras.Input(SIZE), keras.Input(SIZE)
    backbone = keras.Model(inside, chain(stack, inside), name="backbone")
    difference = layers.Subtract()([backbone(inputs), backbone(layers.Rescaling(-1.0)(inputs))])
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(difference)))

    def forward(images: Any) -> tuple[Maps, Any]:
        once, again = maps_of(stack, images), maps_of(stack, -images)
        maps = {f"backbone/{name}": value for name, value in once.items()}
        maps |= {f"backbone/{name}:1": value for name, value in again.items()}
        return maps, logits_of(head, once["last"] - again["last"])

    return Kind(lively(model), forward)


def preprocessing_inside() -> Kind:
    """Augmentation, operators and a Normalization with statistics of its own."""
    stack, head = conv_stack(), new_head()
    inputs = keras.Input(SIZE)
    scaled = layers.RandomRotation(0.5)(layers.RandomFlip()(inputs)) / 0.5 - 1.0
    normal = layers.Normalization(mean=[0.2, 0.1, -0.3], variance=[0.25, 0.16, 0.49])(scaled)
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(chain(stack, normal))))

    def forward(images: Any) -> tuple[Maps, Any]:
        deviation = np.sqrt(np.float32([0.25, 0.16, 0.49]))
        maps = maps_of(stack, (images / 0.5 - 1.0 - np.float32([0.2, 0.1, -0.3])) / deviation)
        return maps, logits_of(head, maps["last"])

    return Kind(lively(model), forward)


def layer_class_of_ones_own() -> Kind:
    first, *rest = conv_stack()
    stack, head = [first, Squared(name="squared"), *rest], new_head()
    inputs = keras.Input(SIZE)
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D()(chain(stack, inputs))))
    return one_after_another(model, stack, head)


KINDS: dict[str, tuple[Callable[[], Kind], tuple[str, ...]]] = {
    "Sequential with an Input": (sequential_with_an_input, ("first", "last")),
    "Sequential without": (sequential_that_was_called, ("first", "last")),
    "subclassed": (subclassed, ("first", "last")),
    "nested": (nested_three_deep, ("outer/middle/inner/first", "outer/middle/inner/last")),
    "a backbone used twice": (
        backbone_used_twice,
        ("backbone/first", "backbone/last", "backbone/first:1", "backbone/last:1"),
    ),
    "preprocessing inside": (preprocessing_inside, ("first", "last")),
    "a layer class of one's own": (layer_class_of_ones_own, ("first", "squared", "last")),
}


def mixed_precision(dtype: str) -> Kind:
    """Gradients are so small that they would vanish in float16."""
    stack, head = conv_stack(dtype), layers.Dense(CLASSES, "softmax", name="head", dtype=dtype)
    inputs = keras.Input(SIZE)
    model = keras.Model(inputs, head(layers.GlobalAveragePooling2D(dtype=dtype)(chain(stack, inputs))))
    kind = one_after_another(model, stack, head)
    head.kernel.assign(1e-7 * head.kernel)
    return kind


def image_and_patient(patients: np.ndarray) -> Kind:
    """A model of two inputs; `forward` takes one image and the number of its patient."""
    stack, head = conv_stack(), new_head()
    image, patient = keras.Input(SIZE, name="image"), keras.Input(patients.shape[1:], name="patient")
    vector = layers.Concatenate()([layers.GlobalAveragePooling2D()(chain(stack, image)), patient])
    model = keras.Model([image, patient], head(vector))

    def forward(image: Any, number: int) -> tuple[Maps, Any]:
        maps = maps_of(stack, image)
        pooled = tf.reduce_mean(maps["last"], axis=(1, 2))
        return maps, tf.concat([pooled, patients[number][None]], axis=1) @ head.kernel + head.bias

    return Kind(lively(model), forward)
