"""The last block output of each resolution."""

import keras
import pytest
from keras import layers
from tiny_models import nested_net, net, residual_net

from worker.graph import flatten_model
from worker.head import find_head
from worker.stages import find_stages

pytestmark = pytest.mark.tensorflow


def stages_of(model: keras.Model) -> tuple[str, ...]:
    graph = flatten_model(model)
    return find_stages(graph, find_head(graph).last)


def test_resnet50_has_four_stages():
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=7)
    assert stages_of(model) == (
        "conv2_block3_out",
        "conv3_block4_out",
        "conv4_block6_out",
        "conv5_block3_out",
    )


def chain_with(*middle) -> keras.Model:
    """conv (16×16), whatever is named, end (8×8)."""
    inputs = keras.Input((32, 32, 3))
    maps = layers.Conv2D(4, 3, 2, padding="same", name="conv")(inputs)
    for layer in middle:
        maps = layer(maps)
    maps = layers.Conv2D(4, 3, 2, padding="same", name="end")(maps)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(maps)))


def squeeze_and_excite(maps):
    gate = layers.Conv2D(4, 1, name="gate")(layers.GlobalAveragePooling2D(keepdims=True)(maps))
    return layers.Multiply(name="gated")([maps, gate])


def test_a_gate_of_one_pixel_is_no_stage():
    assert stages_of(chain_with(squeeze_and_excite)) == ("gated", "end")


def test_adding_a_constant_merges_nothing():
    last_of_its_resolution = layers.AveragePooling2D(1, name="smooth")
    assert stages_of(chain_with(lambda maps: maps + 3.0, last_of_its_resolution)) == ("smooth", "end")


def test_a_convolution_after_the_last_sum_ends_the_last_stage():
    inputs = keras.Input((32, 32, 3))
    stem = layers.Conv2D(4, 3, 2, padding="same", name="stem")(inputs)
    total = layers.Add(name="sum")([stem, layers.Conv2D(4, 3, padding="same", name="a")(stem)])
    maps = layers.ReLU(name="top")(layers.Conv2D(9, 1, name="widen")(total))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    assert stages_of(model) == ("top",)


def test_mobilenet_v3_leaves_out_gates_and_constants_that_are_added():
    model = keras.applications.MobileNetV3Small(weights=None, input_shape=(64, 64, 3), include_top=False)
    pooled = layers.GlobalAveragePooling2D()(model.output)
    found = stages_of(keras.Model(model.input, layers.Dense(7)(pooled)))
    assert found[:2] == ("expanded_conv_2_add", "expanded_conv_7_add") and len(found) == 3


def test_a_residual_block_ends_with_the_activation_after_its_sum():
    assert stages_of(residual_net().model) == ("out1", "out2")


def test_a_plain_chain_has_the_last_layer_of_each_resolution():
    assert stages_of(net("gap, dense softmax").model) == ("relu1", "conv2")


def test_the_last_stage_is_the_layer_that_enters_the_head():
    stack = [layers.Conv2D(4, 3, name="conv"), layers.MaxPooling2D(name="pool"), layers.Flatten()]
    model = keras.Sequential([keras.Input((32, 32, 3)), *stack, layers.Dense(3)])
    assert stages_of(model) == ("conv", "pool")


def test_preprocessing_inside_the_model_is_no_stage():
    assert stages_of(nested_net().model) == ("backbone/relu1", "backbone/conv2")


def test_preprocessing_by_operators_and_augmentation_are_no_stages():
    inputs = keras.Input((32, 32, 3))
    scaled = layers.RandomFlip()(inputs / 127.5 - 1.0)
    maps = layers.Conv2D(4, 3, 2, name="conv")(scaled)
    assert stages_of(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(maps)))) == ("conv",)


def test_an_activation_that_a_next_block_shares_is_not_followed_past_the_sum():
    inputs = keras.Input((32, 32, 3))
    stem = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    total = layers.Add(name="sum")([stem, layers.Conv2D(4, 3, padding="same", name="a")(stem)])
    left = layers.Conv2D(4, 3, 2, name="left")(layers.ReLU(name="relu")(total))
    right = layers.Conv2D(4, 3, 2, name="right")(total)
    maps = layers.Add(name="end")([left, right])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(maps)))
    assert stages_of(model) == ("sum", "end")
