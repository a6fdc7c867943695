"""Normalisations that are computed together with the convolution before them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from plain_keras import assert_near
from tiny_models import lively

from worker.fusion import FusedNorm, fuse
from worker.graph import Graph, flatten_model

pytestmark = pytest.mark.tensorflow


def norm(**options: Any) -> layers.BatchNormalization:
    return layers.BatchNormalization(name="norm", **options)


def conv(**options: Any) -> layers.Conv2D:
    return layers.Conv2D(5, 3, name="conv", **options)


def both(inputs: Any) -> Any:
    maps = conv()(inputs)
    return layers.Concatenate()([maps, norm()(maps)])


WHOLE, NORM_ALONE, NOTHING = ["norm"], ["conv", "norm"], []
CASES: dict[str, tuple[Callable[[Any], Any], list[str]]] = {
    "a convolution with a bias": (lambda x: norm()(conv()(x)), WHOLE),
    "strides, padding and dilation": (
        lambda x: norm()(conv(strides=2, padding="same")(layers.Conv2D(4, 3, dilation_rate=2)(x))),
        WHOLE,
    ),
    "neither scale nor offset": (lambda x: norm(scale=False, center=False)(conv()(x)), WHOLE),
    "an epsilon of its own": (lambda x: norm(epsilon=0.5)(conv()(x)), WHOLE),
    "no bias": (lambda x: norm()(conv(use_bias=False)(x)), NORM_ALONE),
    "an activation between": (lambda x: norm()(conv(activation="relu")(x)), NORM_ALONE),
    "a depthwise convolution": (lambda x: norm()(layers.DepthwiseConv2D(3, name="conv")(x)), NORM_ALONE),
    "a convolution used twice": (both, NORM_ALONE),
    "another axis": (lambda x: norm(axis=1)(conv()(x)), NOTHING),
    "half precision": (lambda x: norm(dtype="mixed_float16")(conv()(x)), NOTHING),
    "a vector": (lambda x: norm()(layers.Flatten()(conv()(x))), NOTHING),
}


def graph_of(build: Callable[[Any], Any]) -> tuple[keras.Model, Graph]:
    inputs = keras.Input((12, 12, 3))
    model = lively(keras.Model(inputs, build(inputs)))
    return model, flatten_model(model)


def fused_steps(graph: Graph, kept: set[int] = frozenset()) -> list[FusedNorm]:
    return [step for step in fuse(graph, kept) if isinstance(step, FusedNorm)]


@pytest.mark.parametrize("case", CASES)
def test_fused_steps_compute_what_keras_computes(case):
    build, taken_over = CASES[case]
    model, graph = graph_of(build)
    images = np.random.default_rng(3).random((2, 12, 12, 3), np.float32)
    values = dict(zip(graph.inputs, [tf.constant(images)], strict=True))
    steps = fuse(graph, set())
    for step in steps:
        step.call(values)
    tolerance = 1e-2 if case == "half precision" else 1e-5
    assert_near(values[graph.output].numpy(), model(images, training=False).numpy(), tolerance)
    fused = [step for step in steps if isinstance(step, FusedNorm)]
    assert len(fused) == (taken_over != NOTHING)
    assert [one.convolution is not None for one in fused] == [taken_over == WHOLE] * len(fused)
    assert len(steps) == len(graph.steps) - (taken_over == WHOLE)


def test_a_convolution_that_is_wanted_for_itself_is_computed_for_itself():
    _, graph = graph_of(CASES["a convolution with a bias"][0])
    convolution = next(step for step in graph.steps if step.name == "conv")
    assert fused_steps(graph)[0].convolution == convolution
    assert fused_steps(graph, {convolution.outputs[0]})[0].convolution is None


def test_the_gradient_goes_through_a_fused_step_as_through_keras():
    model, graph = graph_of(CASES["a convolution with a bias"][0])
    images = tf.constant(np.random.default_rng(4).random((2, 12, 12, 3), np.float32))
    (step,) = fused_steps(graph)
    gradients = []
    for compute in (lambda: model(images, training=False), lambda: called(step, graph, images)):
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = tf.reduce_sum(compute() ** 2)
        gradients.append(tape.gradient(score, images).numpy())
    assert_near(gradients[1], gradients[0], 1e-5)


def called(step: FusedNorm, graph: Graph, images: Any) -> Any:
    values = {graph.inputs[0]: images}
    step.call(values)
    return values[graph.output]
