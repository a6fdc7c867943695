"""ResNet50 over real dermoscopy images, against plain Keras; and the ways real metadata comes."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Camshard
from oracle import expected_results

from benchmarks.resnet import make_resnet50
from camshard.results import open_run

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]

ISIC_LABELS = "MEL,NV,BCC,AKIEC,BKL,DF,VASC"
_SAMPLE = 24


@pytest.fixture(scope="module")
def resnet50(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet50 + pooling + Dense(7), statistics of real images."""
    path = tmp_path_factory.mktemp("resnet") / "resnet50.keras"
    make_resnet50(path, sorted((shared_data / "isic2018_test" / "images").glob("*.jpg"))[:24])
    return path


def test_resnet50_on_isic_images_equals_plain_keras(
    camshard: Camshard, shared_data: Path, resnet50: Path, tmp_path: Path
) -> None:
    isic = shared_data / "isic2018_test"
    done = camshard(
        "run", "--metadata", isic / "ISIC2018_Task3_Test_GroundTruth.csv", "--id-column", "image",
        "--label-columns", ISIC_LABELS, "--images", isic / "images", "--model", resnet50,
        "--methods", "cam,gradcam", "--limit", _SAMPLE, "--batch-size", 8, "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = open_run(tmp_path / "run")
    table = results.table
    truth = pd.read_csv(isic / "ISIC2018_Task3_Test_GroundTruth.csv").head(_SAMPLE)
    assert table["label"].tolist() == truth[ISIC_LABELS.split(",")].idxmax(axis=1).str.lower().tolist()
    paths = [isic / "images" / f"{image_id}.jpg" for image_id in table["image_id"]]
    expected = expected_results(resnet50, paths, "conv5_block3_out", (224, 224))
    columns = [f"probability_{name}" for name in results.run.spec.classes]
    np.testing.assert_allclose(table[columns].to_numpy(), expected.probabilities, atol=1e-5)
    for method, values in (("cam", expected.cam), ("gradcam", expected.gradcam)):
        found = [
            [results.attribution(image_id, method, target=index) for index in range(7)]
            for image_id in table["image_id"]
        ]
        np.testing.assert_allclose(np.array(found), values, atol=1e-4 * np.abs(values).max())


def test_ham10000_in_two_folders_is_one_set(
    camshard: Camshard, shared_data: Path, small_model: Path, tmp_path: Path
) -> None:
    ham = shared_data / "ham10000"
    frame = pd.read_csv(ham / "subset_metadata.csv").head(40)
    parts = [tmp_path / "HAM10000_images_part_1", tmp_path / "HAM10000_images_part_2"]
    for part in parts:
        part.mkdir()
    for number, image_id in enumerate(frame["image_id"]):
        shutil.copy(ham / "images" / f"{image_id}.jpg", parts[number % 2])
    frame.to_csv(tmp_path / "metadata.csv", index=False)
    done = camshard(
        "run", "--metadata", "metadata.csv", "--images", parts[0], "--images", parts[1],
        "--model", small_model, "--out", "run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = open_run(tmp_path / "run").table
    assert table["image_id"].tolist() == frame["image_id"].tolist()
    assert (table["status"] == 0).all()
