"""The target that is meant: one rule, and the same wherever a run is looked at."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from given_results import Given, write_results

from camshard.analysis.comparison import compare
from camshard.export.request import ExportRequest, Kind
from camshard.export.write import export_run
from camshard.notebook import results_html
from camshard.results import Results, open_run
from shared.errors import RequestError

PAIR = ("gradcam", "c2")
LEVELS = np.arange(1, 4) * np.linspace(-1, 1, 16)[:, None]  # rank r is r + 1 times a ramp


def maps(targets: list[list[int]]) -> np.ndarray:
    """Attributions (n, ranks, 4, 4) whose highest value is the rank + 1; NaN where there is no target."""
    ranks = np.array(targets)
    values = np.moveaxis(LEVELS.reshape(4, 4, 3), -1, 0)[None, : ranks.shape[1]]
    return np.where(ranks[:, :, None, None] < 0, np.nan, np.broadcast_to(values, (*ranks.shape, 4, 4)))


def given(targets: list[list[int]], **fields: object) -> Given:
    return Given(list("abc"), attributions={PAIR: maps(targets)}, targets=targets, **fields)  # type: ignore[arg-type]


SINGLE = [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]]
# over its threshold is: of a mel, though bkl is likelier; of b bkl and mel; of c none
SEVERAL = {
    "probabilities": [[0.8, 0.3, 0.1], [0.95, 0.4, 0.1], [0.1, 0.05, 0.3]],
    "thresholds": [0.9, 0.2, 0.5],
    "task": "multilabel",
}
LABELS = given([[0], [2], [-1]], probabilities=SINGLE, labels=[0, 2, -1], kind="label")
PREDICTED = given([[1, -1], [0, 1], [2, -1]], labels=[[0, 1, 0]] * 3, kind="predicted", **SEVERAL)
TOP = given([[0], [0], [2]], labels=[[0, 1, 0]] * 3, kind="top", **SEVERAL)
ALL = given([[0, 1, 2]] * 3, labels=[[0, 1, 0]] * 3, kind="named", **SEVERAL)
FIRST_LABELS = given(
    [[1, 2], [0, -1], [-1, -1]], labels=[[0, 1, 1], [1, 0, 0], [0, 0, 0]], kind="label", **SEVERAL
)


def open_given(folder: Path, what: Given) -> Results:
    for image_id in what.image_ids:
        cv2.imwrite(str(folder / f"{image_id}.jpg"), np.full((16, 16, 3), 90, np.uint8))
    return open_run(write_results(folder / "run", replace(what, image_dir=folder)).dir)


def ranks_of(results: Results, **target: object) -> list[float]:
    return [results.attribution(one, **target).max() - 1 for one in "abc"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "ranks", "classes", "drawn"),
    [
        (LABELS, [0, 0, np.nan], ["bkl", "nv", None], "the label"),
        (PREDICTED, [0, 0, 0], ["mel", "bkl", "nv"], "the likeliest predicted class"),
        (TOP, [0, 0, 0], ["bkl", "bkl", "nv"], "the likeliest class"),
        (ALL, [1, 0, 2], ["mel", "bkl", "nv"], "the likeliest predicted class"),
        (FIRST_LABELS, [0, 0, np.nan], ["mel", "bkl", None], "the first label"),
    ],
    ids=["labels", "predicted", "top", "all", "several labels"],
)
def test_the_default_target_is_the_same_everywhere(
    tmp_path: Path, what: Given, ranks: list[float], classes: list[str | None], drawn: str
) -> None:
    results = open_given(tmp_path, what)
    np.testing.assert_array_equal(ranks_of(results), ranks)
    streamed = np.concatenate([values for _, values in results.batches()])
    np.testing.assert_array_equal(streamed.max(axis=(1, 2)) - 1, ranks)
    targets = compare(results, results).table["target"]
    assert [None if missing else one for one, missing in zip(targets, targets.isna(), strict=True)] == classes
    html = results_html(results)
    assert f"Grad-CAM of {drawn} at c2" in html
    assert html.count("<img") == len([one for one in classes if one]), "none without a label"
    outcome = export_run(results.run.dir, ExportRequest(Kind.PNG))
    lines = (outcome.path / "index.csv").read_text().splitlines()[1:]
    assert [line.rsplit(" ", 1)[1] for line in lines] == [one for one in classes if one]


def test_predicted_and_label_are_words_for_a_target(tmp_path: Path) -> None:
    one = given([[0, 1, 2]] * 3, probabilities=SINGLE, labels=[2, 1, 0], kind="named")
    results = open_given(tmp_path, one)
    assert ranks_of(results, target="predicted") == ranks_of(results) == [0, 1, 2]
    assert ranks_of(results, target="label") == [2, 1, 0]
    assert [values.max() - 1 for _, block in results.batches(target="label") for values in block] == [2, 1, 0]


def test_a_class_of_that_name_wins_over_the_word(tmp_path: Path) -> None:
    one = given(
        [[0, 1, 2]] * 3,
        probabilities=SINGLE,
        labels=[2, 1, 0],
        kind="named",
        classes=("x", "Label", "predicted"),
    )
    results = open_given(tmp_path, one)
    assert ranks_of(results, target="label") == [1, 1, 1]
    assert ranks_of(results, target="predicted") == [2, 2, 2]
    assert ranks_of(results) == [0, 1, 2], "the default is no word"


def test_a_target_that_was_not_explained_is_said_with_the_way_out(tmp_path: Path) -> None:
    results = open_given(tmp_path, LABELS)
    with pytest.raises(
        RequestError, match=r"mel was not explained for image 'b'; targets: nv; name one with targ"
    ):
        results.attribution("b", target="predicted")
    assert results.attribution("b", rank=0).max() == 1


def test_an_image_without_the_wanted_label_is_named(tmp_path: Path) -> None:
    results = open_given(tmp_path, replace(LABELS, kind="top"))
    with pytest.raises(RequestError, match="image 'c' has no label. Name a class with target=, or rank="):
        results.attribution("c", target="label")


def test_the_label_of_several_is_only_known_in_a_run_of_labels(tmp_path: Path) -> None:
    assert open_given(tmp_path, FIRST_LABELS).attribution("a", target="label").max() == 1
    (tmp_path / "other").mkdir()
    with pytest.raises(
        RequestError, match="has several labels an image. Name a class with target=, or rank="
    ):
        open_given(tmp_path / "other", ALL).attribution("a", target="label")
