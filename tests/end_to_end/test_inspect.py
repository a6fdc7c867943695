"""`camshard inspect`: what is in a model, and the spec that suits it."""

import json
import shutil
from pathlib import Path

import pytest
from commands import Camshard, plan_arguments

from shared.model_source import file_sha256
from shared.model_spec import read_spec_file

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def model(small_model: Path, tmp_path: Path) -> Path:
    """The small model alone, without its spec."""
    return Path(shutil.copy(small_model, tmp_path / "model.keras"))


def test_inspect_lists_layers_and_leaves_json_and_a_first_spec(camshard: Camshard, model: Path) -> None:
    done = camshard("inspect", model)
    assert done.returncode == 0, done.stderr
    assert "conv2" in done.stdout and "12×16×16" in done.stdout
    assert "method   cam: yes" in done.stdout
    found = json.loads(model.with_suffix(".inspection.json").read_text())
    assert (found["last"], found["outputs"], found["model_sha256"]) == ("conv2", 7, file_sha256(model))
    assert read_spec_file(model.with_suffix(".toml")) == {
        "task": "multiclass",
        "layers": ["last"],
        "input": {"size": [48, 64], "channels": 3, "resize": "stretch", "interpolation": "bilinear"},
    }


def test_a_run_without_a_scale_is_refused_and_told_how_to_find_it(
    camshard: Camshard, model: Path, lesion_set: Path
) -> None:
    done = camshard("run", *plan_arguments(lesion_set, model))
    assert done.returncode == 1
    assert "--scale" in done.stderr and "camshard inspect" in done.stderr


def test_inspect_finds_the_scale_the_model_was_made_for(
    camshard: Camshard, tmp_path: Path, lesion_set: Path
) -> None:
    path = _brightness_model(tmp_path)
    metadata = tmp_path / "metadata.csv"
    _label_by_brightness(lesion_set, metadata)
    images = lesion_set.parent / "images"
    assert camshard("inspect", path).returncode == 0
    done = camshard("inspect", path, "--metadata", metadata, "--images", images)
    assert done.returncode == 0, done.stderr
    assert read_spec_file(path.with_suffix(".toml"))["input"]["scale"] == "-1..1"
    again = camshard("inspect", path, "--metadata", metadata, "--images", images)
    assert "stays as it is" in again.stdout


def test_inspect_leaves_the_scale_open_where_nothing_that_it_tries_does_well(
    camshard: Camshard, tmp_path: Path, lesion_set: Path
) -> None:
    path = _brightness_model(tmp_path)
    metadata = tmp_path / "metadata.csv"
    _label_by_brightness(lesion_set, metadata)
    labelled = ["--metadata", metadata, "--images", lesion_set.parent / "images"]
    done = camshard("inspect", path, *labelled, "--classes", "light,dark")
    assert done.returncode == 0, done.stderr
    assert "so the scale is not known" in done.stderr
    assert "scale" not in read_spec_file(path.with_suffix(".toml"))["input"]
    assert "# scale = " in path.with_suffix(".toml").read_text()
    assert (
        "how pixels are scaled for this model is nowhere said"
        in camshard("run", *labelled, "--model", path).stderr
    )


def test_inspect_without_a_place_for_the_spec_says_so(camshard: Camshard, model: Path) -> None:
    done = camshard("inspect", model, "--spec", model / "below.toml")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: {model}/below.toml: the spec cannot be written: Not a directory. "
        "Name another place with --spec."
    )


def _brightness_model(folder: Path) -> Path:
    """A net that says `light` where the mean of its pixels is above 0, as it is for scale -1..1 alone."""
    import keras
    import numpy as np

    inputs = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(1, 1, name="maps")(inputs)
    outputs = keras.layers.Dense(2, activation="softmax", name="head")(
        keras.layers.GlobalAveragePooling2D()(maps)
    )
    model = keras.Model(inputs, outputs)
    model.get_layer("maps").set_weights([np.full((1, 1, 3, 1), 1 / 3, np.float32), np.zeros(1, np.float32)])
    model.get_layer("head").set_weights([np.array([[-9, 9]], np.float32), np.array([2, -2], np.float32)])
    path = folder / "brightness.keras"
    model.save(path)
    return path


def _label_by_brightness(lesion_set: Path, metadata: Path) -> None:
    """Label the images by what the net says at scale -1..1."""
    import numpy as np
    import pandas as pd

    from shared.images import prepare_image
    from shared.model_spec import InputSpec

    spec = InputSpec((16, 16), scale="-1..1")
    frame = pd.read_csv(lesion_set)
    means = [
        prepare_image(lesion_set.parent / "images" / f"{one}.jpg", spec).mean() for one in frame["image_id"]
    ]
    frame["dx"] = np.where(np.array(means) * 18 - 4 > 0, "light", "dark")
    assert frame["dx"].nunique() == 2
    frame.sort_values("dx").to_csv(metadata, index=False)
