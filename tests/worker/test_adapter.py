"""Models with several inputs, through a function of the user's."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from tiny_models import conv_maps

from shared.errors import ModelError
from worker.adapter import Adapter
from worker.graph import flatten_model
from worker.trusted_code import load_function, load_objects

pytestmark = pytest.mark.tensorflow

RECORDS = pd.DataFrame({"image_id": ["a", "b"], "age": [50.0, None]})
IMAGES = np.zeros((2, 32, 32, 3), np.float32)


def two_inputs() -> keras.Model:
    image, patient = keras.Input((32, 32, 3), name="image"), keras.Input((2,), name="patient")
    pooled = layers.GlobalAveragePooling2D()(conv_maps(image))
    return keras.Model([image, patient], layers.Dense(3, "softmax")(layers.Concatenate()([pooled, patient])))


def adapter(function) -> Adapter:
    return Adapter(function, "adapter.py:make_inputs", flatten_model(two_inputs()))


def ages(records: pd.DataFrame) -> np.ndarray:
    return np.stack([records["age"].fillna(0) / 100, records["age"].isna()], axis=1)


@pytest.mark.parametrize(
    "make_inputs",
    [
        lambda images, records: [images, ages(records)],
        lambda images, records: (images, ages(records)),
        lambda images, records: {"patient": ages(records), "image": images},
    ],
)
def test_inputs_come_in_the_models_order_and_dtype(make_inputs):
    images, patients = adapter(make_inputs)(IMAGES, RECORDS)
    assert images.shape == (2, 32, 32, 3)
    assert (patients.dtype, patients.tolist()) == (np.float32, [[0.5, 0], [0, 1]])


@pytest.mark.parametrize(
    ("make_inputs", "message"),
    [
        (
            lambda images, records: images,
            r"returned 1 arrays; the model's inputs are 'image' \('n', 32",
        ),
        (lambda images, records: [images, images], r"an array \(2, 32, 32, 3\) for 2 images .* 'patient'"),
        (lambda images, records: [images[:1], ages(records)], r"an array \(1, 32, 32, 3\) for 2 images"),
        (lambda images, records: {"image": images}, r"returned a dict of \['image'\]"),
        (lambda images, records: records["sex"], r"raised KeyError: 'sex'"),
    ],
)
def test_what_does_not_fit_the_model_is_said(make_inputs, message):
    with pytest.raises(ModelError, match=rf"adapter.py:make_inputs: .*{message}"):
        adapter(make_inputs)(IMAGES, RECORDS)


def test_code_runs_only_when_it_is_trusted(tmp_path):
    path = tmp_path / "adapter.py"
    making = f"import os; os.mkdir({str(tmp_path / 'ran')!r})"
    path.write_text(f"{making}\ndef make_inputs(images, records):\n    return images\n")
    with pytest.raises(ModelError, match=r"adapter.py: code that comes .* only with --trust-model"):
        load_function(path, "make_inputs", trust_model=False)
    assert not (tmp_path / "ran").exists()
    assert load_function(path, "make_inputs", trust_model=True)(1, 2) == 1


def test_what_is_wrong_with_code_is_said(tmp_path):
    path = tmp_path / "code.py"
    with pytest.raises(ModelError, match="no Python file"):
        load_objects(path, trust_model=True)
    path.write_text("import numpy\n1 / 0")
    with pytest.raises(ModelError, match="running it raised ZeroDivisionError"):
        load_objects(path, trust_model=True)
    path.write_text("from pathlib import Path\ndef f(): pass\nclass C: pass\n")
    assert list(load_objects(path, trust_model=True)) == ["f", "C"]
    with pytest.raises(ModelError, match="no function 'g' in it. It defines: f, C"):
        load_function(path, "g", trust_model=True)
