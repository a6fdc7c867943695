"""From the model's arrays to the shard's rows."""

import numpy as np
import pytest

from shared.images import ImageError
from shared.status import Status
from worker.explain import Explained
from worker.reader import ImageBatch
from worker.rows import label_targets, rows_of

pytestmark = pytest.mark.tensorflow

PAIR = ("gradcam", "conv")


def explained(logits: np.ndarray) -> Explained:
    """Results whose every value is finite but the logits', for a batch of four."""
    return Explained(
        logits=logits,
        probabilities=np.full((4, 2), 0.5, np.float32),
        predictions=np.array([0, 1, 0, 1], np.int32),
        targets=np.array([[0], [1], [0], [1]], np.int32),
        attributions={PAIR: np.ones((4, 1, 2, 2), np.float32)},
    )


def batch_of(failures: list[ImageError | None]) -> ImageBatch:
    return ImageBatch(8, np.zeros((4, 2, 2, 3), np.float32), failures, 0.0)


def test_padding_is_cut_off():
    logits = np.arange(8, dtype=np.float32).reshape(4, 2)
    rows = rows_of(batch_of([None, None, None]), explained(logits))
    assert rows.logits.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert rows.predictions.tolist() == [0, 1, 0] and rows.targets.tolist() == [[0], [1], [0]]
    assert rows.attributions[PAIR].shape == (3, 1, 2, 2) and len(rows.probabilities) == 3
    assert rows.statuses.tolist() == [0, 0, 0] and rows.errors == ["", "", ""]


def test_types_are_those_of_the_shard():
    rows = rows_of(batch_of([None] * 4), explained(np.zeros((4, 2), np.float32)))
    assert (rows.statuses.dtype, rows.predictions.dtype, rows.targets.dtype) == (np.int8, np.int16, np.int16)
    assert rows.logits.dtype == rows.attributions[PAIR].dtype == np.float32


def test_an_image_that_failed_has_its_reason_and_no_results():
    logits = np.zeros((4, 2), np.float32)
    failure = ImageError(Status.TOO_LARGE, "huge")
    rows = rows_of(batch_of([None, failure, None]), explained(logits))
    assert rows.statuses.tolist() == [0, 3, 0] and rows.errors == ["", "huge", ""]
    assert np.isnan(rows.logits[1]).all() and np.isnan(rows.probabilities[1]).all()
    assert rows.predictions.tolist() == [0, -1, 0] and rows.targets.tolist() == [[0], [-1], [0]]
    assert np.isnan(rows.attributions[PAIR][1]).all() and (rows.attributions[PAIR][[0, 2]] == 1).all()
    assert (logits == 0).all()  # what the model gave is left as it was


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_an_error_of_the_model(value):
    logits = np.zeros((4, 2), np.float32)
    logits[2, 1] = value
    rows = rows_of(batch_of([None] * 4), explained(logits))
    assert rows.statuses.tolist() == [0, 0, Status.MODEL_ERROR, 0]
    assert rows.errors[2] == f"the model's output is not finite: [0.0, {value}]"
    assert np.isnan(rows.attributions[PAIR][2]).all() and rows.predictions[2] == -1


def test_an_image_that_failed_is_not_blamed_on_the_model():
    logits = np.full((4, 2), np.nan, np.float32)
    rows = rows_of(batch_of([ImageError(Status.MISSING, "gone")]), explained(logits))
    assert rows.statuses.tolist() == [Status.MISSING] and rows.errors == ["gone"]


def test_labels_are_targets_of_the_first_rank():
    assert label_targets(np.array([2, -1, 0], np.int16), 2).tolist() == [[2, -1], [-1, -1], [0, -1]]


def test_several_labels_are_targets_as_far_as_there_are_ranks():
    labels = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [-1, -1, -1, -1]], np.int8)
    assert label_targets(labels, 2).tolist() == [[0, 2], [3, -1], [-1, -1]]
