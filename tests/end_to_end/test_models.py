"""`camshard run` with every kind of model file and with code that comes with one, against plain Keras."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from commands import Camshard, plan_arguments
from oracle import plain_gradcam, read_pixels

from camshard.results import Results, open_run
from shared.inspection import inspection_path_beside, inspection_to_json
from shared.model_source import ModelSource
from worker.inspect import inspect_file

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]

SIZE = (48, 64)
SPEC = '[input]\nscale = "0..1"\n'
ADAPTER = """
import numpy as np

def make_inputs(images, records):
    patients = np.stack([records["age"].fillna(50) / 100, records["sex"] == "female"], axis=1)
    return {"patient": patients, "image": images}
"""
LAYERS = """
import keras

class Squared(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.square(inputs)
"""


@pytest.fixture(scope="module")
def pixels(lesion_set: Path) -> np.ndarray:
    """The made-up lesions as the models of this module want them: float32 (60, 48, 64, 3) of 0..1."""
    ids = pd.read_csv(lesion_set)["image_id"]
    return read_pixels([lesion_set.parent / "images" / f"{one}.jpg" for one in ids], SIZE) / 255


def saved(model: Any, inputs: Sequence[np.ndarray], path: Path) -> Any:
    """Save a model with a spec that says the scale alone; return it."""
    spread_logits(model, inputs)
    model.save(path)
    path.with_suffix(".toml").write_text(SPEC)
    return model


def spread_logits(model: Any, inputs: Sequence[np.ndarray]) -> None:
    """Have an untrained model's logits differ between images."""
    import keras

    head = model.layers[-1]
    vectors = keras.Model(model.inputs, head.input).predict(list(inputs), verbose=0)
    kernel = head.get_weights()[0] / vectors.std(axis=0).mean()
    head.set_weights([kernel, -(vectors @ kernel).mean(axis=0)])


def leave_inspection(model_path: Path) -> None:
    """Leave what `camshard inspect` leaves beside a model, so that planning need not look at it."""
    source = ModelSource(model_path)
    found = inspection_to_json(inspect_file(source, trust_model=False), source)
    inspection_path_beside(model_path).write_text(found)


def conv_maps(image: Any) -> Any:
    from keras import layers

    maps = layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="conv1")(image)
    return layers.Conv2D(16, 3, 2, padding="same", activation="relu", name="conv2")(maps)


def probabilities_of(results: Results) -> np.ndarray:
    """Return (n, classes)."""
    return results.table[[f"probability_{name}" for name in results.run.spec.classes]].to_numpy()


def assert_as_plain_keras(results: Results, model: Any, inputs: Sequence[np.ndarray], layer: str) -> None:
    """Check probabilities, and Grad-CAM of the predicted class for every tenth image."""
    expected = model.predict(list(inputs), verbose=0)
    np.testing.assert_allclose(probabilities_of(results), expected, atol=1e-5)
    assert len(set(expected.argmax(axis=1))) > 1  # or all targets would be alike
    rows = range(0, len(expected), 10)
    ids = results.table["image_id"]
    found = np.array([results.attribution(ids[row], "gradcam", layer) for row in rows])
    targets = [int(expected[row].argmax()) for row in rows]
    gradcam = plain_gradcam(model, [one[list(rows)] for one in inputs], layer.rpartition("/")[2], targets)
    np.testing.assert_allclose(found, gradcam, atol=1e-4 * np.abs(gradcam).max())


def test_a_model_of_two_inputs_runs_through_an_adapter_and_only_if_it_is_trusted(
    camshard: Camshard, lesion_set: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    image, patient = keras.Input((*SIZE, 3), name="image"), keras.Input((2,), name="patient")
    pooled = layers.GlobalAveragePooling2D()(conv_maps(image))
    outputs = layers.Dense(7, "softmax")(layers.Concatenate()([pooled, patient]))
    records = pd.read_csv(lesion_set)
    assert records["age"].isna().any()
    patients = np.stack([records["age"].fillna(50) / 100, records["sex"] == "female"], axis=1)
    inputs = [pixels, patients.astype(np.float32)]
    model = saved(keras.Model([image, patient], outputs), inputs, tmp_path / "two.keras")
    leave_inspection(tmp_path / "two.keras")
    (tmp_path / "adapter.py").write_text(ADAPTER)
    spec = SPEC + f'size = {list(SIZE)}\n[inputs]\nadapter = "adapter.py:make_inputs"\n'
    (tmp_path / "two.toml").write_text(spec)
    command = ["run", *plan_arguments(lesion_set, tmp_path / "two.keras"), "--batch-size", 8, "--out", "run"]

    refused = camshard(*command)
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "adapter.py: code that comes with a model runs only with --trust-model" in refused.stderr
    done = camshard(*command, "--trust-model")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_as_plain_keras(open_run(tmp_path / "run"), model, inputs, "conv2")


def test_custom_layers_are_explained_and_features_are_the_mean_of_the_last_maps(
    camshard: Camshard, lesion_set: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    (tmp_path / "layers.py").write_text(LAYERS)
    spec = importlib.util.spec_from_file_location("made_layers", tmp_path / "layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    image = keras.Input((*SIZE, 3))
    maps = module.Squared(name="squared")(conv_maps(image))
    outputs = layers.Dense(7, "softmax")(layers.GlobalAveragePooling2D()(maps))
    model = saved(keras.Model([image], outputs), [pixels], tmp_path / "own.keras")
    done = camshard(
        "run", *plan_arguments(lesion_set, tmp_path / "own.keras"), "--custom-layers", "layers.py",
        "--trust-model", "--save-features", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = open_run(tmp_path / "run")
    assert_as_plain_keras(results, model, [pixels], "squared")
    last = keras.Model(model.inputs, model.get_layer("squared").output).predict(pixels, verbose=0)
    expected = last.mean(axis=(1, 2))
    np.testing.assert_allclose(features_of(results), expected, atol=1e-5 * expected.max())


def features_of(results: Results) -> np.ndarray:
    """Return float32 (n, channels) from the shards themselves."""
    parts = []
    for shard in range(results.run.num_shards):
        with h5py.File(results.run.shard_path(shard)) as file:
            parts.append(file["feature"][...])
    return np.concatenate(parts)


def test_weights_alone_run_in_the_architecture_that_is_named(
    camshard: Camshard, lesion_set: Path, tmp_path: Path
) -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    backbone = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(64, 64, 3))
    outputs = layers.Dense(7, "softmax")(layers.GlobalAveragePooling2D()(backbone.output))
    model = keras.Model(backbone.inputs, outputs)
    paths = [lesion_set.parent / "images" / f"{one}.jpg" for one in pd.read_csv(lesion_set)["image_id"]]
    pixels = read_pixels(paths, (64, 64)) / 127.5 - 1
    spread_logits(model, [pixels])
    model.save_weights(tmp_path / "best.weights.h5")
    done = camshard(
        "run", *plan_arguments(lesion_set, tmp_path / "best.weights.h5"), "--architecture", "mobilenetv2-gap",
        "--num-classes", 7, "--size", "64,64", "--scale", "-1..1", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert_as_plain_keras(open_run(tmp_path / "run"), model, [pixels], "out_relu")


def keras2_results(model_path: Path, layer: str, pixels: np.ndarray, *options: object) -> Any:
    """Return the positive class's `probabilities` (n,) and `gradcam` (n, height, width) by Keras 2 itself."""
    folder = model_path.parent
    np.save(folder / "images.npy", pixels)
    oracle = [sys.executable, Path(__file__).with_name("keras2_oracle.py")]
    command = [*oracle, model_path, layer, folder / "images.npy", folder / "results.npz", *options]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=120)
    return np.load(folder / "results.npz")


def assert_as_keras_2(results: Results, expected: Any, layer: str, positive: str, negative: str) -> None:
    ids = results.table["image_id"]
    assert results.run.spec.classes == (negative, positive)
    np.testing.assert_allclose(probabilities_of(results)[:, 1], expected["probabilities"], atol=1e-5)
    gradcam = expected["gradcam"]
    assert np.abs(gradcam).max() > 0
    predicted = [results.attribution(one, "gradcam", layer) for one in ids]
    signs = np.where(results.table["prediction"] == positive, 1, -1)[:, None, None]
    np.testing.assert_allclose(predicted, signs * gradcam, atol=1e-4 * np.abs(gradcam).max())


@pytest.mark.usefixtures("tf_keras")
def test_a_checkpoint_of_keras_2_runs_as_a_binary_model_in_grey(
    camshard: Camshard, lesion_set: Path, tmp_path: Path
) -> None:
    records = pd.read_csv(lesion_set)
    records["dx"] = np.where(records["dx"].isin(["mel", "bcc", "akiec"]), "malignant", "benign")
    metadata = lesion_set.with_name("two_classes.csv")
    records.to_csv(metadata, index=False)
    np.save(tmp_path / "labels.npy", (records["dx"] == "malignant").to_numpy(np.float32))
    paths = [lesion_set.parent / "images" / f"{one}.jpg" for one in records["image_id"]]
    pixels = read_pixels(paths, SIZE, channels=1) / 255
    model_path = tmp_path / "checkpoint.hdf5"
    expected = keras2_results(model_path, "maps", pixels, "--train", tmp_path / "labels.npy")
    leave_inspection(model_path)
    done = camshard("run", *plan_arguments(metadata, model_path), "--scale", "0..1", "--out", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    results = open_run(tmp_path / "run")
    assert results.run.request.attributions == (("cam", "maps"), ("gradcam", "maps"))
    assert_as_keras_2(results, expected, "maps", "malignant", "benign")


@pytest.mark.usefixtures("tf_keras")
def test_the_chest_xray_model_of_2019_runs_over_chest_images_in_grey(
    camshard: Camshard, shared_data: Path, tmp_path: Path
) -> None:
    chest = shared_data / "chest_xray"
    records = pd.read_csv(chest / "metadata.csv")
    records["finding"] = np.where(records["Finding Labels"] == "No Finding", "none", "some")
    assert records["finding"].nunique() == 2
    records.to_csv(tmp_path / "metadata.csv", index=False)
    model_path = Path(shutil.copy(shared_data / "models" / "chest_xray_binary_keras2.hdf5", tmp_path))
    done = camshard(
        "run", "--metadata", "metadata.csv", "--id-column", "Image Index", "--label-column", "finding",
        "--images", chest / "images", "--model", model_path, "--scale", "0..1", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = open_run(tmp_path / "run")
    assert results.table["label"].tolist() == records["finding"].tolist()
    pixels = read_pixels([chest / "images" / one for one in records["Image Index"]], (64, 64), 1) / 255
    expected = keras2_results(model_path, "max_pooling2d_7", pixels)
    assert_as_keras_2(results, expected, "max_pooling2d_7", "some", "none")
