"""Nearest neighbours by features, on directions whose cosines are known."""

from pathlib import Path

import numpy as np
import pytest
from given_results import Given, write_results

from camshard.analysis.neighbours import cosine_distances, nearest
from camshard.results import Results, open_run
from shared.errors import RequestError
from shared.run import Run

# east, east again but longer, 60 degrees, north, west, failed, nothing
FEATURES = [[1, 0], [5, 0], [1, 3**0.5], [0, 2], [-3, 0], [1, 0], [0, 0]]
IDS = ["east", "long", "sixty", "north", "west", "gone", "zero"]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    probabilities = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    given = Given(
        IDS,
        probabilities,
        {("cam", "c2"): np.zeros((7, 3, 2, 2))},
        labels=[0, 0, 1, -1, 1, 1, 0],
        failed=("gone",),
        features=FEATURES,
        columns={"age": [10, 20, 30, 40, 50, 60, 70]},
    )
    return open_run(write_results(tmp_path / "run", given).dir)


def test_neighbours_come_by_the_angle_between_features_whatever_their_length(results: Results) -> None:
    found = nearest(results, "east", k=4)
    assert found["image_id"].tolist() == ["long", "sixty", "north", "zero"]
    np.testing.assert_allclose(found["distance"], [0, 0.5, 1, 1], atol=1e-7)


def test_each_neighbour_has_its_row_of_the_table(results: Results) -> None:
    found = nearest(results, "east", k=2)
    assert found.columns[:5].tolist() == ["image_id", "distance", "label", "prediction", "probability_bkl"]
    assert found["label"].tolist() == ["bkl", "mel"]
    assert found["prediction"].tolist() == ["mel", "nv"]
    assert found["age"].tolist() == [20, 30]
    assert found["status"].tolist() == [0, 0]


def test_neither_the_image_itself_nor_failed_ones_are_neighbours(results: Results) -> None:
    found = nearest(results, "west", k=100)
    assert sorted(found["image_id"]) == ["east", "long", "north", "sixty", "zero"]
    assert found["image_id"].tolist()[-1] == "long"
    np.testing.assert_allclose(found["distance"].tolist()[-3:], [1.5, 2, 2], rtol=1e-7)


def test_distances_agree_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics.pairwise")
    features = np.random.default_rng(1).random((5000, 16), np.float32)
    theirs = metrics.cosine_distances(features.astype(np.float64), features[:1].astype(np.float64))[:, 0]
    np.testing.assert_allclose(cosine_distances(features, features[0]), theirs, atol=1e-12)


@pytest.mark.parametrize(
    ("image_id", "k", "text"),
    [
        ("nobody", 5, "no image 'nobody' among its 7 records"),
        ("gone", 5, r"image 'gone' has no features: it failed \(missing: no file\)"),
        ("east", 0, "k: a positive whole number of neighbours is wanted, received 0"),
        ("east", 1.5, "k: a positive whole number of neighbours is wanted, received 1.5"),
    ],
)
def test_what_has_no_neighbours_is_said(results: Results, image_id: str, k: int, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        nearest(results, image_id, k)


def test_a_run_without_features_says_how_to_get_them(results_dir: Run) -> None:
    with pytest.raises(RequestError, match="no features were saved. Plan a new run with --save-features"):
        nearest(open_run(results_dir.dir), "a")
