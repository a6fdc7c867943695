"""Weights alone, as Keras 3 saves them, into architectures by name."""

import keras
import numpy as np
import pytest
from keras import layers

from shared.errors import ModelError
from shared.model_source import ModelSource
from worker.model import load_model

pytestmark = pytest.mark.tensorflow

SHAPE = (32, 32, 3)


def backbone() -> keras.Model:
    return keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=SHAPE)


def flat() -> keras.Model:
    inner = backbone()
    pooled = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(inner.output))
    return keras.Model(inner.inputs, layers.Dense(3, "softmax", name="diagnosis")(pooled))


def nested() -> keras.Model:
    inputs = keras.Input(SHAPE)
    pooled = layers.GlobalAveragePooling2D()(backbone()(inputs))
    return keras.Model(inputs, layers.Dense(3, "softmax")(pooled))


def sequential() -> keras.Model:
    return keras.Sequential([backbone(), layers.GlobalAveragePooling2D(), layers.Dense(3, "softmax")])


def source(path, **changed) -> ModelSource:
    known = {"size": (32, 32), "architecture": "mobilenetv2-gap", "num_classes": 3}
    return ModelSource(path, **(known | changed))


@pytest.mark.parametrize("build", [flat, nested, sequential])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras on layers without weights
def test_weights_load_whatever_way_the_head_was_put_on(tmp_path, build):
    model = build()
    model.save_weights(tmp_path / "best.weights.h5")
    found = load_model(source(tmp_path / "best.weights.h5"), trust_model=False)
    images = np.random.default_rng(1).random((2, *SHAPE), np.float32)
    np.testing.assert_allclose(found.keras_model(images), model(images), atol=1e-6)
    assert found.head.pooled_linear


def test_weights_of_something_else_are_refused_with_what_was_tried(tmp_path):
    keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 3)]).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ModelError, match=r"no weights of mobilenetv2-gap with 3 outputs: as a flat model: "):
        load_model(source(tmp_path / "w.weights.h5"), trust_model=False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "resnet51-gap"}, r"'resnet51-gap' is not known. Known: .*resnet50-gap"),
        ({"architecture": "resnet50"}, r"'resnet50' is not known. Known: .*resnet50-gap"),
        ({"num_classes": None}, "wants --num-classes N .* and --size HEIGHT,WIDTH"),
        ({"size": None}, "wants --num-classes N .* and --size HEIGHT,WIDTH"),
        ({"architecture": None}, "weights alone. Say .* --architecture resnet50-gap"),
    ],
)
def test_what_is_wanted_besides_weights_is_named(tmp_path, changed, message):
    keras.Sequential([keras.Input(SHAPE), layers.Conv2D(3, 3)]).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ModelError, match=message):
        load_model(source(tmp_path / "w.weights.h5", **changed), trust_model=False)


def test_an_architecture_for_a_whole_model_is_refused(tmp_path):
    flat().save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match=r"holds a whole model; --architecture .* Leave it out"):
        load_model(source(tmp_path / "model.keras"), trust_model=False)
