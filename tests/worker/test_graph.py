"""Any model as a flat list of steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tiny_models import conv_maps, lively, nested_net, net, residual_net

from shared.errors import ModelError
from worker.graph import Graph, flatten_model

pytestmark = pytest.mark.tensorflow


def names(graph: Graph) -> list[str]:
    return [step.name for step in graph.steps]


def slot(graph: Graph, name: str) -> int:
    return graph.steps[names(graph).index(name)].outputs[0]


def output_of(graph: Graph, images: np.ndarray) -> np.ndarray:
    values = {graph.inputs[0]: keras.ops.convert_to_tensor(images)}
    for step in graph.steps:
        step.call(values)
    return keras.ops.convert_to_numpy(values[graph.output])


def shared_backbone() -> keras.Model:
    """The same backbone called on an image and on its negative."""
    inside = keras.Input((32, 32, 3))
    backbone = keras.Model(inside, conv_maps(inside), name="backbone")
    inputs = keras.Input((32, 32, 3))
    maps = layers.Subtract(name="difference")([backbone(inputs), backbone(layers.Rescaling(-1.0)(inputs))])
    return lively(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps))))


def arithmetic() -> keras.Model:
    """Operators and keras.ops on tensors, with constants and keywords."""
    inputs = keras.Input((32, 32, 3))
    maps = layers.Conv2D(4, 3, name="conv")(2.0 * inputs - 0.5)
    pooled = keras.ops.mean(keras.ops.maximum(maps, 0.1), axis=(1, 2))
    return lively(keras.Model(inputs, keras.ops.concatenate([pooled, 3.0 / (1.0 + pooled)], axis=-1)))


def augmented() -> keras.Model:
    """What does something in training alone."""
    return lively(
        keras.Sequential(
            [keras.Input((32, 32, 3)), layers.RandomFlip(), layers.Conv2D(4, 3), layers.SpatialDropout2D(0.5),
             layers.BatchNormalization(), layers.GlobalAveragePooling2D(), layers.Dropout(0.5),
             layers.Dense(3)]
        )
    )  # fmt: skip


def dropout_in_training() -> keras.Model:
    """Dropout that was called for training once: `predict` overrides it."""
    inputs = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    return lively(keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.5)(pooled, training=True))))


@pytest.mark.parametrize(
    "model",
    [
        lambda: net("gap, dense softmax").model,
        lambda: nested_net().model,
        lambda: residual_net().model,
        shared_backbone,
        arithmetic,
        augmented,
        dropout_in_training,
    ],
    ids=["functional", "nested", "residual", "shared", "arithmetic", "augmented", "dropout in training"],
)
def test_the_steps_compute_what_the_model_predicts(model, images):
    model = model()
    found = output_of(flatten_model(model), images)
    np.testing.assert_allclose(found, model(images, training=False), rtol=1e-5, atol=1e-6)


def test_nested_models_are_opened_and_named_by_path():
    assert names(flatten_model(nested_net().model)) == [
        "scaling/rescaling", "backbone/conv1", "backbone/bn1", "backbone/relu1", "backbone/conv2", "pool",
        "head",
    ]  # fmt: skip


def test_a_second_call_of_the_same_layer_has_a_name_of_its_own():
    found = names(flatten_model(shared_backbone()))
    assert [name for name in found if "conv1" in name] == ["backbone/conv1", "backbone/conv1:1"]


def test_a_sequential_without_an_input_is_known_once_it_was_called(images):
    model = keras.Sequential([layers.Conv2D(4, 3, name="conv"), layers.GlobalAveragePooling2D(name="pool")])
    model(images)
    assert names(flatten_model(model)) == ["conv", "pool"]


def test_what_a_slot_depends_on_stops_at_parallel_branches():
    graph = flatten_model(residual_net().model)
    upstream = graph.upstream(slot(graph, "mid2"))
    assert slot(graph, "out1") in upstream and graph.inputs[0] in upstream
    assert slot(graph, "skip2") not in upstream and slot(graph, "add2") not in upstream


def test_what_depends_on_a_slot_leaves_out_the_slot_and_what_bypasses_it():
    graph = flatten_model(residual_net().model)
    downstream = graph.downstream({slot(graph, "mid2")})
    assert slot(graph, "end2") in downstream and graph.output in downstream
    assert not {slot(graph, "mid2"), slot(graph, "skip2"), slot(graph, "out1")} & downstream


def test_only_feature_maps_have_pixels():
    graph = flatten_model(net("gap, dense softmax").model)
    assert graph.has_pixels(slot(graph, "conv2")) and not graph.has_pixels(slot(graph, "pool"))


class OwnTraining(keras.Model):
    """A Functional model that only trains in its own way."""

    def train_step(self, data):
        raise NotImplementedError


class Traced(keras.Model):
    """A model class of its own, made of Keras layers and operators alone."""

    def __init__(self, backbone: keras.Model, **keywords):
        super().__init__(**keywords)
        self.backbone = backbone
        self.pool = layers.GlobalAveragePooling2D(name="pool")

    def call(self, inputs, training=False):
        return self.pool(self.backbone(2 * inputs - 1, training=training))


class Untraceable(keras.Model):
    """A model class that calls TensorFlow, which knows nothing of symbolic tensors."""

    def call(self, inputs):
        return tf.reduce_mean(inputs, axis=(1, 2))


def backbone() -> keras.Model:
    """A backbone that takes images of any size, as keras.applications make them."""
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, layers.Conv2D(4, 3, 2, padding="same", name="c")(inputs), name="backbone")


def test_a_model_class_with_a_call_of_its_own_is_traced():
    model = Traced(backbone())
    model(np.zeros((1, 32, 32, 3), np.float32))
    graph = flatten_model(model)
    assert names(graph) == ["multiply", "subtract", "backbone/c", "pool"]
    assert graph.shapes[slot(graph, "backbone/c")] == (None, 16, 16, 4)
    inputs = keras.Input((32, 32, 3))
    assert names(flatten_model(keras.Model(inputs, Traced(backbone(), name="inner")(inputs)))) == [
        "inner/multiply",
        "inner/subtract",
        "inner/backbone/c",
        "inner/pool",
    ]


def test_a_model_class_that_keras_cannot_trace_is_refused_with_the_way_out():
    model = Untraceable()
    model(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(ModelError, match=r"is a Untraceable, whose call\(\) Keras cannot trace.*keras.ops"):
        flatten_model(model)


def test_a_backbone_of_open_size_has_the_size_of_what_it_is_called_on():
    inputs = keras.Input((64, 32, 3))
    graph = flatten_model(keras.Model(inputs, layers.GlobalAveragePooling2D()(backbone()(inputs))))
    assert graph.shapes[slot(graph, "backbone/c")] == (None, 32, 16, 4)


def test_a_model_of_open_size_takes_the_size_that_is_asked_for():
    model = keras.Sequential([backbone(), layers.GlobalAveragePooling2D()])
    graph = flatten_model(model, (64, 32))
    assert graph.shapes[graph.inputs[0]] == (None, 64, 32, 3)
    assert graph.shapes[slot(graph, "backbone/c")] == (None, 32, 16, 4)
    with pytest.raises(ModelError, match=r"\(None, None, None, 3\), which leaves its size open.*--size"):
        flatten_model(model)


def test_a_backbone_that_is_used_twice_has_its_layers_once_for_each_call():
    inputs = keras.Input((32, 32, 3))
    twice = backbone()
    maps = layers.Subtract()([twice(inputs), twice(layers.Rescaling(2.0)(inputs))])
    graph = flatten_model(keras.Model(inputs, layers.GlobalAveragePooling2D()(maps)))
    assert [name for name in names(graph) if name.startswith("backbone")] == ["backbone/c", "backbone/c:1"]


def test_a_model_class_that_only_trains_differently_is_as_good_as_functional():
    inputs = keras.Input((32, 32, 3))
    assert names(flatten_model(OwnTraining(inputs, layers.Flatten(name="flat")(inputs)))) == ["flat"]


def test_a_sequential_that_never_saw_an_input_is_refused_with_the_way_out():
    with pytest.raises(ModelError, match=r"before it knew its input. Begin it with keras.Input"):
        flatten_model(keras.Sequential([layers.Conv2D(4, 3)]))


def test_several_outputs_are_refused_with_the_way_out():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(2)(inputs)])
    with pytest.raises(ModelError, match=r"has 2 outputs; one is wanted. Save the one to explain"):
        flatten_model(model)
