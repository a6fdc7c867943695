"""Inspection, in this process and as one of its own."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from tiny_models import nested_net, net

from shared.errors import ModelError
from shared.inspection import Inspection, Layer, inspection_from_dict
from shared.model_source import ModelSource, source_to_json
from worker import inspect
from worker.inspect import inspect_file

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def model_path(tmp_path) -> Path:
    path = tmp_path / "model.keras"
    net("gap, dense softmax").model.save(path)
    return path


def expected(model_path: Path) -> Inspection:
    return Inspection(
        model_sha256=hashlib.sha256(model_path.read_bytes()).hexdigest(),
        keras_version=keras.__version__,
        input_shapes=((32, 32, 3),),
        outputs=3,
        activation="softmax",
        pooling="average",
        pooled_linear_head=True,
        last="conv2",
        stages=("relu1", "conv2"),
        layers=(
            Layer("conv1", "Conv2D", (16, 16, 6)),
            Layer("bn1", "BatchNormalization", (16, 16, 6)),
            Layer("relu1", "ReLU", (16, 16, 6)),
            Layer("conv2", "Conv2D", (8, 8, 8)),
        ),
    )


def test_inspection_tells_planning_what_it_must_know(model_path):
    assert inspect_file(ModelSource(model_path), trust_model=False) == expected(model_path)


def test_a_process_of_its_own_prints_the_same_as_its_last_line(model_path):
    source = source_to_json(ModelSource(model_path))
    command = [sys.executable, "-P", "-m", "worker.inspect", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert inspection_from_dict(json.loads(done.stdout.splitlines()[-1])) == expected(model_path)


def test_layers_of_nested_models_are_listed_by_their_path(tmp_path):
    nested_net().model.save(tmp_path / "nested.keras")
    found = inspect_file(ModelSource(tmp_path / "nested.keras"), trust_model=False)
    assert found.last == "backbone/conv2"
    assert found.layer("backbone/relu1").shape == (16, 16, 6)


def test_an_error_is_printed_as_json_with_its_kind(tmp_path, monkeypatch, capsys):
    path = tmp_path / "model.keras"
    path.write_text("no model")
    monkeypatch.setattr(sys, "argv", ["worker.inspect", source_to_json(ModelSource(path))])
    inspect.main()
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == "ModelError" and str(path) in answer["message"]


def test_what_cannot_be_explained_is_an_error_and_no_inspection(tmp_path):
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs))).save(tmp_path / "model.keras")
    with pytest.raises(ModelError, match="no feature maps"):
        inspect_file(ModelSource(tmp_path / "model.keras"), trust_model=False)
