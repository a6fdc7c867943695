"""Images that look alike to the model: nearest neighbours by the pooled activations of its last layer."""

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.errors import RequestError
from shared.status import Status

if TYPE_CHECKING:
    from camshard.results import Results

_BLOCK_ROWS = 4096


def nearest(results: "Results", image_id: str, k: int = 5) -> pd.DataFrame:
    """Return the k images whose features point the same way as those of one image, the nearest first.

    The distance is 1 − cos(a, b), from 0 (the same direction) over 1 (nothing in common) to 2; after ReLU
    no features are further apart than 1. Features that are all zero have no direction: their distance is 1.

    Args:
        image_id: the image to start from; it is not among the neighbours, nor are images that failed.
        k: how many; fewer are returned where there are no more. Of equal distances the earlier record leads.

    Returns:
        The rows of `results.table` with a column `distance` after image_id.

    Raises:
        RequestError: no such image, it failed, k is no positive whole number, or no features were saved.
        ShardError: a shard cannot be read.
    """
    if not isinstance(k, Integral) or k < 1:
        raise RequestError(f"k: a positive whole number of neighbours is wanted, received {k!r}.")
    table, features = results.table, results.features()
    position = _find(results, image_id)
    usable = np.isfinite(features).all(axis=1)
    if not usable[position]:
        raise RequestError(_why_not(results, position))
    distances = cosine_distances(features, features[position])
    usable[position] = False
    candidates = np.flatnonzero(usable)
    found = candidates[np.argsort(distances[candidates], kind="stable")[:k]]
    neighbours = table.iloc[found].reset_index(drop=True)
    neighbours.insert(1, "distance", distances[found])
    return neighbours


def cosine_distances(features: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return 1 − cos of each row of (n, channels) to a query (channels,): float64 (n,), NaN for NaN."""
    direction = _unit(query[None].astype(np.float64))[0]
    blocks = [
        1 - _unit(features[start : start + _BLOCK_ROWS].astype(np.float64)) @ direction
        for start in range(0, len(features), _BLOCK_ROWS)
    ]
    return np.asarray(np.clip(np.concatenate(blocks), 0, 2))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = np.where(np.isfinite(rows), rows, np.nan)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths == 0, 1, lengths))


def _find(results: "Results", image_id: str) -> int:
    found = np.flatnonzero(results.table["image_id"].to_numpy() == image_id)
    if not found.size:
        raise RequestError(f"{results.run.dir}: no image {image_id!r} among its {len(results)} records.")
    return int(found[0])


def _why_not(results: "Results", position: int) -> str:
    row: Any = results.table.iloc[position]
    status = Status(row["status"]).name.lower()
    reason = f"it failed ({status}: {row['error']})" if row["status"] else "they are not finite numbers"
    return f"{results.run.dir}: image {row['image_id']!r} has no features: {reason}."
