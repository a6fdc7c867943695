"""Model files: which load, and what is said of the others."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from tiny_models import HEADS, conv_maps, net

from shared.errors import ModelError
from shared.model_source import ModelSource
from worker.model import load_model

pytestmark = pytest.mark.tensorflow


def saved(model: keras.Model, path: Path) -> Path:
    model.save(path)
    return path


def with_lambda() -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    doubled = layers.Lambda(lambda x: 2 * x, output_shape=(8, 8, 8), name="twice")(conv_maps(inputs))
    return keras.Model(inputs, HEADS["gap, dense softmax"](doubled)[0])


def any_size() -> keras.Model:
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, HEADS["gap, dense softmax"](conv_maps(inputs))[0])


def channels_first() -> keras.Model:
    inputs = keras.Input((3, 32, 32))
    maps = layers.Conv2D(4, 3, data_format="channels_first", name="c1")(inputs)
    pooled = layers.GlobalAveragePooling2D(data_format="channels_first")(maps)
    return keras.Model(inputs, layers.Dense(3, "softmax")(pooled))


def two_outputs() -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    maps = conv_maps(inputs)
    return keras.Model(inputs, [HEADS["gap, dense softmax"](maps)[0], maps])


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.hdf5"])
def test_whole_models_load_from_every_kind_of_file(tmp_path, images, name):
    model = net("gap, dense softmax").model
    found = load_model(ModelSource(saved(model, tmp_path / name)), trust_model=False)
    assert list(found.explainable) == ["conv1", "bn1", "relu1", "conv2"]
    assert found.head.pooled_linear
    np.testing.assert_array_equal(found.keras_model(images), model(images))


def test_only_layers_that_lead_to_the_pooling_can_be_explained(tmp_path):
    inputs = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(conv_maps(inputs))
    model = keras.Model(inputs, layers.Flatten()(layers.Conv2D(3, 1, name="after")(pooled)))
    found = load_model(ModelSource(saved(model, tmp_path / "model.keras")), trust_model=False)
    assert list(found.explainable) == ["conv1", "bn1", "relu1", "conv2"]


def test_code_in_a_model_runs_only_when_the_model_is_trusted(tmp_path, images):
    model = with_lambda()
    path = saved(model, tmp_path / "model.keras")
    with pytest.raises(ModelError, match="code of its own .*only with --trust-model"):
        load_model(ModelSource(path), trust_model=False)
    found = load_model(ModelSource(path), trust_model=True)
    assert "twice" in found.explainable
    np.testing.assert_array_equal(found.keras_model(images), model(images))


def test_code_in_an_h5_file_is_held_back_too(tmp_path):
    with pytest.raises(ModelError, match="code of its own .*only with --trust-model"):
        load_model(ModelSource(saved(with_lambda(), tmp_path / "model.h5")), trust_model=False)


def test_text_that_is_called_a_model_is_named_as_what_it_is(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("hello, world")
    with pytest.raises(ModelError, match=r"no .keras archive, it begins with b'hello, w'.*model.save"):
        load_model(ModelSource(path), trust_model=False)


def test_a_damaged_h5_file_is_no_model(tmp_path):
    path = saved(net("gap, dense softmax").model, tmp_path / "model.h5")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model.h5: no HDF5 file with a Keras model"):
        load_model(ModelSource(path), trust_model=False)


def test_a_file_of_weights_alone_wants_to_know_of_what(tmp_path):
    path = tmp_path / "model.weights.h5"
    net("gap, dense softmax").model.save_weights(path)
    with pytest.raises(ModelError, match=r"weights alone. Say .* --architecture resnet50-gap"):
        load_model(ModelSource(path), trust_model=False)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(ModelError, match=r"gone.keras: no such model file"):
        load_model(ModelSource(tmp_path / "gone.keras"), trust_model=False)


def test_a_saved_model_folder_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"such as a SavedModel, holds a compiled function.*model.save\('model.keras'\)"
    ):
        load_model(ModelSource(tmp_path / "model"), trust_model=False)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (channels_first, "'c1' is channels_first.*Rebuild the model with data_format='channels_last'"),
        (two_outputs, r"has 2 outputs; one is wanted. Save the one to explain"),
        (
            any_size,
            r"\(None, None, None, 3\), which leaves its size open. Name the images' with --size",
        ),
    ],
)
def test_a_model_that_cannot_be_explained_is_refused_with_file_reason_and_way_out(tmp_path, build, message):
    path = saved(build(), tmp_path / "model.keras")
    with pytest.raises(ModelError, match=message) as caught:
        load_model(ModelSource(path), trust_model=False)
    assert str(caught.value).startswith(f"{path}: ")
