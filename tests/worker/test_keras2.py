"""Files of Keras 2, made by tf-keras in a process of its own, and what Keras 3 makes of them through us."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from shared.errors import ModelError
from shared.model_source import ModelSource
from worker.keras2_operations import StoredOperation
from worker.model import load_model

pytestmark = pytest.mark.tensorflow

MAKER = Path(__file__).with_name("keras2_models.py")


@pytest.fixture(scope="session")
def keras2_dir(tf_keras, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keras2")
    subprocess.run([sys.executable, str(MAKER), str(folder)], check=True, capture_output=True, timeout=240)
    return folder


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("flat", "c3"),
        ("nested", "backbone/c3"),
        ("frozen", "backbone/c3"),
        ("operations", "backbone/c3"),
        ("with_shape", "c3"),
        ("without_input", "c3"),
        ("siamese", "subtract"),
    ],
)
def test_a_whole_model_predicts_as_in_keras_2(keras2_dir, name, last):
    loaded = load_model(ModelSource(keras2_dir / f"{name}.h5"), trust_model=False)
    found = loaded.keras_model.predict(np.load(keras2_dir / "images.npy"), verbose=0)
    np.testing.assert_allclose(found, np.load(keras2_dir / f"{name}.npy"), rtol=1e-6)
    assert loaded.inspect().last == last


def test_a_mixed_precision_model_keeps_its_precision(keras2_dir):
    loaded = load_model(ModelSource(keras2_dir / "mixed.h5"), trust_model=False)
    assert loaded.keras_model.get_layer("c3").compute_dtype == "float16"
    found = loaded.keras_model.predict(np.load(keras2_dir / "images.npy"), verbose=0)
    np.testing.assert_allclose(found, np.load(keras2_dir / "mixed.npy"), atol=2e-3)


def test_a_lambda_layer_runs_only_when_it_is_trusted(keras2_dir):
    with pytest.raises(ModelError, match="code of its own .*only with --trust-model"):
        load_model(ModelSource(keras2_dir / "lambda.h5"), trust_model=False)


def test_the_file_itself_is_left_as_it_was(keras2_dir):
    path = keras2_dir / "nested.h5"
    before = path.read_bytes()
    load_model(ModelSource(path), trust_model=False)
    assert path.read_bytes() == before


def test_a_setting_that_keras_3_has_not_is_named_unless_it_changes_nothing(keras2_dir, tmp_path):
    path = tmp_path / "grouped.h5"
    path.write_bytes((keras2_dir / "flat.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        depthwise = next(one for one in config["config"]["layers"] if one["name"] == "c2")
        assert depthwise["config"]["groups"] == 1  # Keras 3 refuses even this
        depthwise["config"]["groups"] = 3
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=r"'c2' \(DepthwiseConv2D\) has groups 3, which Keras 3 has not"):
        load_model(ModelSource(path), trust_model=False)


@pytest.mark.parametrize("function", ["io.read_file", "py_function", "nn.no_such", "__operators__.call"])
def test_functions_that_do_more_than_compute_are_not_run_from_a_file(function):
    with pytest.raises(ModelError, match=rf"the model calls tf.{function}, which camshard does not run"):
        StoredOperation(function, {}, [])


@pytest.mark.parametrize("name", ["application", "application_frozen"])
def test_weights_alone_go_into_the_architecture_that_is_named(keras2_dir, name):
    source = ModelSource(
        keras2_dir / f"{name}_weights.h5", (32, 32), architecture="mobilenetv2-gap", num_classes=3
    )
    loaded = load_model(source, trust_model=False)
    found = loaded.keras_model.predict(np.load(keras2_dir / "images.npy"), verbose=0)
    np.testing.assert_allclose(found, np.load(keras2_dir / f"{name}.npy"), atol=1e-6)


def test_the_chest_xray_model_of_2019_loads(shared_data):
    path = shared_data / "models" / "chest_xray_binary_keras2.hdf5"
    with pytest.raises(Exception, match="deserializ"):
        keras.models.load_model(path, compile=False)  # or this test would test nothing
    inspection = load_model(ModelSource(path), trust_model=False).inspect()
    assert (inspection.image_shape, inspection.outputs, inspection.activation) == ((64, 64, 1), 1, "sigmoid")
