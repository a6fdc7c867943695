"""Every example runs on a small run, and prints or draws what it says."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from given_results import Given, write_results

from shared.finish import finish_run

ROOT = Path(__file__).resolve().parents[1]
IDS = [f"img{number}" for number in range(6)]
LABELS = [0, 1, 2, 0, 1, -1]
PREDICTED = [0, 1, 2, 1, 2, 0]  # img3 and img4 are wrong
SHARE = np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.5])

Run = Callable[..., str]


def _given(image_dir: Path, predicted: list[int], attributions: np.ndarray) -> Given:
    chosen = np.eye(3)[predicted] > 0
    return Given(
        IDS,
        np.where(chosen, SHARE[:, None], (1 - SHARE[:, None]) / 2),
        {("gradcam", "c2"): attributions},
        labels=LABELS,
        failed=("img5",),
        features=[[1, 0], [1, 0.1], [0, 1], [1, 1], [-1, 0], [1, 0]],
        image_dir=image_dir,
        columns={"sex": ["f", "f", "m", "m", "m", "f"]},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with images: first, in which only img1 has its heat at the border, and second."""
    folder = tmp_path_factory.mktemp("examples")
    for image_id in IDS[:5]:
        cv2.imwrite(str(folder / f"{image_id}.jpg"), np.full((30, 40, 3), 90, np.uint8))
    heat = np.zeros((6, 3, 10, 10))
    heat[:, :, 4, 5] = 2
    heat[:, :, 5, 5] = 1
    heat[1] = np.roll(heat[1], 4, axis=-1)  # to the right edge
    other = heat.copy()
    other[0] = np.roll(heat[0], 3, axis=-1)
    for name, predicted, attributions in (("first", PREDICTED, heat), ("second", [0, 1, 2, 0, 2, 0], other)):
        finish_run(write_results(folder / name, _given(folder, predicted, attributions)))
    labels = np.eye(3)[[0, 1, 2, 0, 1, 0]]  # the same, but img2 is bkl too
    labels[2, 0] = 1
    several = _given(folder, PREDICTED, heat)
    several.labels, several.task = labels.astype(int), "multilabel"
    finish_run(write_results(folder / "several", several))
    explained = _given(folder, PREDICTED, heat[:, :1])
    explained.targets, explained.kind = np.array(LABELS)[:, None], "label"
    finish_run(write_results(folder / "labels", explained))
    return folder


def _run(folder: Path, example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / example, *arguments],
        cwd=folder,
        env=os.environ | {"MPLCONFIGDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def run(folder: Path) -> Run:
    """Run an example in the folder of the runs and return what it prints."""

    def run(example: str, *arguments: str) -> str:
        done = _run(folder, example, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_h5py_reads_what_there_is(run: Run) -> None:
    printed = run("load_with_h5py.py", "first")
    assert "6 images, classes bkl, mel, nv\n  ok: 5\n  missing: 1" in printed
    assert "gradcam__c2: Grad-CAM at c2, (6, 3, 10, 10)" in printed
    assert "img0, gradcam__c2 for bkl: 0 to 2" in printed


def test_xarray_reads_by_name(run: Run) -> None:
    printed = run("load_with_xarray.py", "first")
    assert re.search(r"img0:\nclass_name\nbkl +0\.90", printed)
    assert re.search(r"gradcam__c2, mean by x_c2:.*0\.55 +0\.24.*0\.95 +0\.06", printed, re.DOTALL)


def test_pandas_counts_errors_and_failures(run: Run) -> None:
    printed = run("load_with_pandas.py", "first", "sex")
    assert "6 images, 1 failed\n  1 × no file" in printed
    assert re.search(r"\nbkl +1 +1 +0\nmel +0 +1 +1\nnv +0 +0 +1", printed)
    assert "accuracy 60.0%" in printed
    assert re.search(r"\nf +2 +1\.000\nm +3 +0\.333", printed)


def test_mean_heatmaps_are_drawn_for_each_predicted_class(run: Run, folder: Path) -> None:
    assert run("mean_heatmaps.py", "first", "means.png") == "means.png: mean heatmaps of bkl, mel, nv\n"
    picture = cv2.imread(str(folder / "means.png")).astype(int)
    blue, _, red = np.moveaxis(picture, -1, 0)
    assert (red > blue + 100).any(), "the middle is hot"
    assert (blue > red + 100).mean() > 0.3, "the rest is cold"


def test_errors_are_drawn_the_most_confident_first(run: Run, folder: Path) -> None:
    printed = run("confident_errors.py", "first", "errors.png")
    assert re.search(r"img4 +mel +nv +0\.95\n +img3 +bkl +mel +0\.60\nerrors\.png", printed)
    picture = cv2.imread(str(folder / "errors.png"))
    height, width = picture.shape[:2]
    colours = np.ptp(picture.astype(int), axis=2) > 100
    assert not colours[:, : width // 3].any(), "the images are grey"
    for row in (slice(0, height // 2), slice(height // 2, height)):
        for column in (slice(width // 3, 2 * width // 3), slice(2 * width // 3, width)):
            assert colours[row, column].any(), "an overlay for the predicted and the true class"


def test_shortcuts_are_sorted_by_the_share_at_the_border(run: Run, folder: Path) -> None:
    printed = run("find_shortcuts.py", "first", "shortcuts.csv")
    assert re.search(
        r"spread\n +img1 +mel +mel +1\.0 +0\.45 +0\.95 +0\.0\d+\n +img0 +bkl +bkl +0\.0", printed
    )
    assert re.search(r"\nmel +0\.5", printed), "the median of img1 and img3"
    written = pd.read_csv(folder / "shortcuts.csv")
    assert written["image_id"].tolist()[0] == "img1"
    assert len(written) == 6
    assert written["sex"].tolist()[0] == "f"


def test_two_models_are_compared(run: Run) -> None:
    printed = run("compare_models.py", "first", "second")
    assert "records in both: 6, 1 of them failed" in printed
    assert "same prediction: 80.0%" in printed
    assert "accuracy: 60.0% (first), 80.0% (second)" in printed
    assert re.search(r"probability first:\nimage_id.*\n +img3 +bkl +mel +bkl +0\.4\n\nThe same", printed)
    assert re.search(r"looking elsewhere:\nimage_id.*\n +img0 +bkl +bkl +-0\.0", printed)


def test_neighbours_are_listed(run: Run) -> None:
    printed = run("nearest_images.py", "first", "img0", "2")
    assert re.search(r"img0 +bkl +bkl\n\n2 nearest:", printed)
    assert re.search(r"0\.0050 +img1 +mel +mel\n +0\.2929 +img3 +bkl +mel\n$", printed)


def test_pandas_counts_each_class_of_several_labels(run: Run) -> None:
    printed = run("load_with_pandas.py", "several", "sex")
    assert re.search(r"labels +predictions +both\nbkl +3 +1 +1\nmel +2 +2 +1\nnv +1 +2 +1\n", printed)
    assert "accuracy 40.0%" in printed, "img0 and img1: img2 lacks a label"
    assert re.search(r"\nf +2 +1\.0\nm +3 +0\.0\n", printed)


def test_shortcuts_are_found_among_images_of_several_labels(run: Run, folder: Path) -> None:
    printed = run("find_shortcuts.py", "several", "several.csv")
    assert re.search(r"prediction_bkl.*\n +img1 +0 +1 +0 +1\.0 +0\.45 +0\.95", printed)
    assert "\nmel, 2 images: {'border_share': 0.5" in printed, "the median of img1 and img3"
    assert len(pd.read_csv(folder / "several.csv")) == 6


def test_neighbours_with_several_labels_are_listed_with_each_class(run: Run) -> None:
    printed = run("nearest_images.py", "several", "img2", "1")
    assert re.search(r"image_id +label_bkl +label_mel +label_nv +prediction_bkl", printed)
    assert re.search(r"img2 +1 +0 +1 +0 +0 +1\n\n1 nearest:", printed)


@pytest.mark.parametrize(
    ("example", "what"),
    [("mean_heatmaps.py", "one class for each image"), ("confident_errors.py", "one label for each image")],
)
def test_what_an_example_needs_is_said_in_one_line(folder: Path, example: str, what: str) -> None:
    done = _run(folder, example, "several")
    assert (done.returncode, done.stderr) == (
        1,
        f"{example} needs a run with {what}; this one has several.\n",
    )


def test_the_others_take_several_labels_as_they_are(run: Run) -> None:
    assert "img0, gradcam__c2 for bkl: 0 to 2" in run("load_with_h5py.py", "several")
    assert "gradcam__c2, mean by x_c2" in run("load_with_xarray.py", "several")
    assert "same prediction: 100.0%" in run("compare_models.py", "several", "several")


def test_runs_of_labels_are_told_by_label(run: Run) -> None:
    printed = run("find_shortcuts.py", "labels")
    assert re.search(r"By label:\n.*\nlabel +\nmel +0\.5", printed), "the median of img1 and img4"
    assert "labels.png: mean heatmaps of bkl, mel, nv" in run("mean_heatmaps.py", "labels", "labels.png")
    assert "img0, gradcam__c2 for bkl: 0 to 2" in run("load_with_h5py.py", "labels")


def test_every_example_is_short_explained_and_run_here() -> None:
    tested = set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text()))
    examples = list((ROOT / "examples").glob("*.py"))
    assert {path.name for path in examples} == tested
    for path in examples:
        text = path.read_text()
        assert text.count("\n") < 60, path.name
        assert text.startswith('"""'), path.name
        assert f"python examples/{path.name} RUN" in text.split('"""')[1], path.name
