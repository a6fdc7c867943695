"""Between the model's arrays and the shard's rows."""

from typing import Any

import numpy as np

from shared.shard import Rows
from shared.status import Status
from worker.explained import Explained
from worker.reader import ImageBatch


def label_targets(labels: np.ndarray, ranks: int) -> np.ndarray:
    """Return int32 (n, ranks): each image's label or labels as targets, -1 where there is none.

    Args:
        labels: (n,) class indices, or (n, classes) of 1, 0 and -1 for multilabel.
    """
    targets = np.full((len(labels), ranks), -1, np.int32)
    if labels.ndim == 1:
        targets[:, 0] = labels
        return targets
    for row, classes in enumerate(labels):
        present = np.flatnonzero(classes == 1)[:ranks]
        targets[row, : len(present)] = present
    return targets


def rows_of(batch: ImageBatch, explained: Explained) -> Rows:
    """Cut the padding off a batch's results, and blank the rows of images that failed.

    A row whose logits are not finite has failed too: status 4, model_error.
    """
    number = len(batch.failures)
    logits = explained.logits[:number].copy()
    finite = np.isfinite(logits).all(axis=1)
    statuses = np.array([Status.OK if one is None else one.status for one in batch.failures], np.int8)
    errors = ["" if one is None else one.reason for one in batch.failures]
    for row in np.flatnonzero((statuses == Status.OK) & ~finite):
        statuses[row] = Status.MODEL_ERROR
        errors[row] = f"the model's output is not finite: {logits[row].tolist()}"
    failed = statuses != Status.OK
    return Rows(
        statuses=statuses,
        errors=errors,
        logits=_blank(logits, failed, np.nan),
        probabilities=_blank(explained.probabilities[:number].copy(), failed, np.nan),
        predictions=_blank(explained.predictions[:number].astype(np.int16), failed, -1),
        targets=_blank(explained.targets[:number].astype(np.int16), failed, -1),
        attributions={
            pair: _blank(values[:number].copy(), failed, np.nan)
            for pair, values in explained.attributions.items()
        },
        features=None
        if explained.features is None
        else _blank(explained.features[:number].copy(), failed, np.nan),
    )


def _blank(values: np.ndarray, failed: np.ndarray, blank: Any) -> np.ndarray:
    values[failed] = blank
    return values
