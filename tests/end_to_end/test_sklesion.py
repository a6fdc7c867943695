"""sklesion's model (nested Xception, two inputs) through the adapter that docs/models.md shows."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Camshard
from oracle import read_pixels

from camshard.results import Results, open_run

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
LAYER = "xception/block14_sepconv2_act"
NOTHING_KNOWN = [0, 0, 1, 0, 0, 0, 0, 1, 51.9 / 90, 1]  # sex, site, age, whether the age is missing
_SAMPLE = 16


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    """The package's model, with the spec and the adapter of the docs beside it."""
    package = importlib.util.find_spec("sklesion")
    if package is None:
        pytest.skip("sklesion is not installed: pip install --no-deps sklesion==0.2.2")
    path = tmp_path / "model.keras"
    path.symlink_to(Path(package.origin).with_name("model.keras"))
    (tmp_path / "adapter.py").write_text(code_block("python", "# adapter.py"))
    (tmp_path / "model.toml").write_text(code_block("toml", "task ="))
    return path


def code_block(language: str, beginning: str) -> str:
    """Return the one code block of the docs that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    (found,) = (block for block in blocks if block.startswith(beginning))
    return found


def test_the_worked_example_of_the_docs_gives_what_plain_keras_gives(
    camshard: Camshard, shared_data: Path, model_path: Path, tmp_path: Path
) -> None:
    import keras

    isic = shared_data / "isic2018_test"
    done = camshard(
        "run", "--metadata", isic / "ISIC2018_Task3_Test_GroundTruth.csv", "--id-column", "image",
        "--label-columns", "MEL,NV,BCC,AKIEC,BKL,DF,VASC", "--images", isic / "images", "--model", model_path,
        "--layers", LAYER, "--limit", _SAMPLE, "--trust-model", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = open_run(tmp_path / "run")
    ids = results.table["image_id"]
    model = keras.models.load_model(model_path, compile=False)
    pixels = read_pixels([isic / "images" / f"{one}.jpg" for one in ids], (254, 254))
    patients = np.tile(np.float32(NOTHING_KNOWN), (_SAMPLE, 1))
    expected = model.predict([pixels, patients], verbose=0)
    np.testing.assert_allclose(probabilities_of(results), expected, atol=2e-5)
    assert (results.table["label"] == results.table["prediction"]).mean() > 0.6
    gradcam = plain_gradcam(model, pixels, patients, expected.argmax(axis=1))
    found = np.array([results.attribution(one, "gradcam", LAYER) for one in ids])
    largest = np.abs(gradcam).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found / largest, gradcam / largest, atol=1e-3)


def probabilities_of(results: Results) -> np.ndarray:
    return results.table[[f"probability_{name}" for name in results.run.spec.classes]].to_numpy()


def plain_gradcam(model: Any, pixels: np.ndarray, patients: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return (n, height, width) at the backbone's last activation, one image at a time, without the ReLU."""
    import keras
    import tensorflow as tf

    backbone, head = model.get_layer("xception"), model.layers[-1]
    inside = keras.Model(
        backbone.inputs[0], [backbone.get_layer(LAYER.split("/")[1]).output, backbone.outputs[0]]
    )
    behind = keras.Model([model.get_layer("dropout").input, model.inputs[1]], head.input)
    attributions = []
    for image, patient, target in zip(pixels, patients, targets, strict=True):
        with tf.GradientTape() as tape:
            maps, vector = inside(model.get_layer("normalization")(image[None]), training=False)
            before = behind([vector, tf.constant(patient[None])], training=False)
            score = (before @ head.kernel + head.bias)[0, target]
        weights = tape.gradient(score, maps).numpy()[0].mean(axis=(0, 1))
        attributions.append((maps.numpy()[0] * weights).sum(axis=2))
    return np.array(attributions)
