"""Real runs: command line, broker, Celery workers, HDF5."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import Camshard

from camshard.lesions import make_lesion_set


@pytest.fixture
def camshard(tmp_path: Path) -> Camshard:
    """Run the command line in a folder of its own and return what came back."""

    def run(*arguments: object, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "camshard", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    return run


@pytest.fixture(scope="session")
def lesion_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The metadata CSV of 60 made-up lesions; images/ lies beside it."""
    return make_lesion_set(tmp_path_factory.mktemp("lesions"), count=60)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained net of seven classes, 48×64, with its spec beside it."""
    import keras

    from shared.model_spec import InputSpec, ModelSpec, write_spec

    keras.utils.set_random_seed(3)
    inputs = keras.Input((48, 64, 3))
    maps = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="conv1")(inputs)
    maps = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu", name="conv2")(maps)
    pooled = keras.layers.GlobalAveragePooling2D()(maps)
    outputs = keras.layers.Dense(7, activation="softmax", name="head")(pooled)
    model = keras.Model(inputs, outputs)
    head = model.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([np.float32(20) * kernel, bias])
    path = tmp_path_factory.mktemp("model") / "small.keras"
    model.save(path)
    classes = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    write_spec(path.with_suffix(".toml"), ModelSpec("multiclass", classes, InputSpec((48, 64), scale="0..1")))
    return path
