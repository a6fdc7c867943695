"""What a model ends in."""

import keras
import numpy as np
import pytest
from keras import layers
from plain_keras import plain_logits
from tiny_models import HEADS, conv_maps, nested_net, net

from shared.errors import ModelError
from worker.graph import Graph, flatten_model
from worker.head import Head, find_head

pytestmark = pytest.mark.tensorflow

# activation, outputs, pooling, pooled_linear
EXPECTED = {
    "gap, dense softmax": ("softmax", 3, "average", True),
    "gap, softmax": ("softmax", 3, "average", True),
    "gap, dense, Activation": ("softmax", 3, "average", True),
    "gap, dropout, dense, Softmax": ("softmax", 3, "average", True),
    "gap, dense logits": ("linear", 3, "average", True),
    "gap, dense softmax of two": ("softmax", 2, "average", True),
    "gap, one sigmoid": ("sigmoid", 1, "average", True),
    "gap, sigmoids": ("sigmoid", 3, "average", True),
    "gap, dense relu, dense": ("softmax", 3, "average", False),
    "gmp, dense": ("softmax", 3, "max", False),
    "flatten, dense": ("softmax", 3, "flatten", False),
}


def head_and_last(model: keras.Model) -> tuple[Head, str]:
    graph = flatten_model(model)
    head = find_head(graph)
    return head, graph.producers[head.last].name


def model_of(size: int, *stack) -> keras.Model:
    return keras.Sequential([keras.Input((size, size, 3)), *stack])


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_recognised(name):
    head, last = head_and_last(net(name).model)
    assert (head.activation, head.outputs, head.pooling, head.pooled_linear) == EXPECTED[name]
    assert last == "conv2"


@pytest.mark.parametrize("name", HEADS)
def test_logits_are_computed_before_the_last_activation(name, images):
    built = net(name)
    graph = flatten_model(built.model)
    values = {graph.inputs[0]: keras.ops.convert_to_tensor(images)}
    for step in graph.steps:
        step.call(values)
    found = keras.ops.convert_to_numpy(find_head(graph).compute_logits(values))
    np.testing.assert_allclose(found, plain_logits(built, images), rtol=1e-5, atol=1e-6)


def test_the_linear_layer_of_a_pooled_head_is_kept_for_its_weights():
    built = net("gap, dropout, dense, Softmax")
    assert find_head(flatten_model(built.model)).dense is built.dense
    assert find_head(flatten_model(net("gap, softmax").model)).dense is None


def test_the_last_layer_may_lie_in_a_nested_model():
    assert head_and_last(nested_net().model)[1] == "backbone/conv2"


@pytest.mark.parametrize(
    ("pooling", "kind", "pooled_linear"),
    [
        ([layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten()], "average", True),
        ([layers.GlobalAveragePooling2D(keepdims=True), layers.Reshape((4,))], "average", True),
        ([layers.AveragePooling2D(30), layers.Flatten()], "AveragePooling2D", False),
        ([layers.GlobalAveragePooling2D(), layers.BatchNormalization()], "average", False),
        ([layers.GlobalAveragePooling2D(), layers.Dense(5, "relu")], "average", False),
    ],
    ids=["flatten", "reshape", "average", "batchnorm", "relu"],
)
def test_ways_of_pooling(pooling, kind, pooled_linear):
    head, last = head_and_last(model_of(32, layers.Conv2D(4, 3, name="conv"), *pooling, layers.Dense(3)))
    assert (head.pooling, head.pooled_linear, last) == (kind, pooled_linear, "conv")


def test_an_activation_between_the_linear_layer_and_the_softmax_makes_a_head_nonlinear():
    stack = [layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(3, "relu"), layers.Softmax()]
    head, _ = head_and_last(model_of(32, *stack))
    assert (head.pooled_linear, head.dense) == (False, None)


def test_maps_of_one_pixel_are_what_the_pooling_gets():
    stack = [layers.Conv2D(4, 3, name="a"), layers.Conv2D(4, 6, name="b"), layers.GlobalAveragePooling2D()]
    head, last = head_and_last(model_of(8, *stack, layers.Dense(3, activation="softmax")))
    assert (head.pooling, head.pooled_linear, last) == ("average", True, "b")


def test_gates_that_pool_inside_the_net_are_not_its_head():
    inputs = keras.Input((32, 32, 3))
    maps = conv_maps(inputs)
    gate = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(maps))
    gated = layers.Multiply(name="gated")([maps, gate])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(gated)))
    head, last = head_and_last(model)
    assert (head.pooling, last) == ("max", "gated")


def test_two_poolings_side_by_side_are_no_pooled_linear_head():
    inputs = keras.Input((32, 32, 3))
    maps = conv_maps(inputs)
    poolings = [layers.GlobalMaxPooling2D()(maps), layers.GlobalAveragePooling2D()(maps)]
    head, last = head_and_last(keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(poolings))))
    assert (head.pooled_linear, last) == (False, "conv2")


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ([layers.Conv2D(3, 3, activation="softmax")], r"shape \(None, 30, 30, 3\); \(batch, classes\)"),
        ([layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(3, "tanh")], "ends in tanh .*softmax, sigmoid"),
        ([layers.Flatten(), layers.Dense(3, "softmax")], "no feature maps .*needs? a convolutional net"),
        (
            [layers.Conv2D(3, 32, activation="softmax", name="c"), layers.Flatten()],
            "'c' is a Conv2D with softmax built in.*activation as a layer of its own",
        ),
    ],
    ids=["maps", "tanh", "perceptron", "conv"],
)
def test_a_head_that_cannot_be_explained_is_refused_with_the_reason(stack, message):
    graph: Graph = flatten_model(model_of(32, *stack))
    with pytest.raises(ModelError, match=message):
        find_head(graph)
