"""The small net that the demo trains."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from camshard.lesions import LOOKS, make_lesion_set
from shared.images import prepare_image
from shared.model_spec import read_spec_file, spec_from_dict

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def lesion_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lesion_set(tmp_path_factory.mktemp("training"), count=28, seed=5)


@pytest.fixture(scope="module")
def model_path(lesion_csv: Path) -> Path:
    from worker.training.small import train_small

    model_path = lesion_csv.parent / "model.keras"
    train_small(lesion_csv, lesion_csv.parent / "images", model_path, epochs=2, seed=1)
    return model_path


def test_training_leaves_a_spec_that_says_how_the_net_was_fed(model_path: Path) -> None:
    spec = spec_from_dict(read_spec_file(model_path.with_suffix(".toml")), "model.toml")
    assert spec.task == "multiclass"
    assert spec.classes == tuple(sorted(LOOKS))
    assert spec.layers == ("block4_out",)
    assert (spec.input.size, spec.input.channels, spec.input.scale) == ((96, 128), 3, "0..1")


def test_a_saved_net_predicts_what_its_layers_give_by_hand(lesion_csv: Path, model_path: Path) -> None:
    import keras

    from worker.training.small import INPUT

    image_dir = lesion_csv.parent / "images"
    image_ids = pd.read_csv(lesion_csv)["image_id"]
    images = np.stack([prepare_image(image_dir / f"{image_id}.jpg", INPUT) for image_id in image_ids])
    model = keras.models.load_model(model_path, compile=False)
    last = keras.Model(model.inputs, model.get_layer("block4_out").output)
    feature_maps = last.predict(images, verbose=0)
    assert feature_maps.shape[1:3] == (12, 16)
    head = model.get_layer("probabilities")
    logits = feature_maps.mean((1, 2)) @ head.kernel.numpy() + head.bias.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5)


def test_training_moves_the_loss_down_and_the_saved_net_predicts_the_same(lesion_csv: Path) -> None:
    import keras

    from worker.training import small

    data = small.load_images(lesion_csv, lesion_csv.parent / "images")
    assert [data.classes[index] for index in data.class_indices] == pd.read_csv(lesion_csv)["dx"].tolist()
    model = small.build_small(small.INPUT.size, len(data.classes), seed=1)
    small.compile_for(model, steps=20)
    rng = np.random.default_rng(0)
    losses = [small.train_epoch(model, small.batches(rng, data))[0] for _ in range(5)]
    assert losses[-1] < losses[0]
    model.save(lesion_csv.parent / "again.keras")
    reloaded = keras.models.load_model(lesion_csv.parent / "again.keras", compile=False)
    expected = model.predict(data.images, verbose=0)
    np.testing.assert_allclose(reloaded.predict(data.images, verbose=0), expected, atol=1e-6)


def test_varied_images_keep_their_size_and_their_first_weights_follow_the_seed() -> None:
    from worker.training.small import build_small, vary_image

    image = np.full((96, 128, 3), 0.5, np.float32)
    varied = vary_image(np.random.default_rng(0), image)
    assert varied.shape == image.shape
    assert varied.dtype == np.float32
    assert 0.5 * 0.85 * 0.95 <= varied.min() <= varied.max() <= 0.5 * 1.15 * 1.05
    first, again, other = (build_small((32, 32), 3, seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_module_runs_in_a_process_of_its_own_and_prints_a_line_per_epoch(
    lesion_csv: Path, tmp_path: Path
) -> None:
    arguments = ["--metadata", lesion_csv, "--images", lesion_csv.parent / "images"]
    arguments += ["--model", tmp_path / "model.keras", "--epochs", "2", "--seed", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "worker.training", *map(str, arguments)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert (tmp_path / "model.keras").is_file()
    assert (tmp_path / "model.toml").is_file()
