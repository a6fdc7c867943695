"""Where the attributions of a run lie: figures an image that find shortcuts by sorting a table."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camshard.selection import Target

if TYPE_CHECKING:
    from camshard.results import Results

Floats = NDArray[np.float64]

COLUMNS = ("peak_y", "peak_x", "border_share", "spread", "positive_share", "energy")
BORDER = 0.1  # of height and of width, on each side


def attribution_statistics(
    results: "Results", method: str | None = None, layer: str | None = None,
    target: Target = None, rank: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Say of each image where its attribution lies: a row a record, in the order of `results.table`.

    An attribution a(y, x) is taken as it is stored, signed, at its own resolution: each pixel is a patch of
    constant value, and the model's input is the square 0 ≤ y, x ≤ 1, whatever its shape in pixels. So maps of
    any resolution can be compared. With p = max(a, 0), the positive energy, and ∫ over the input:

    - peak_y, peak_x: the centre of the pixel of the highest value, the first where several are.
    - border_share: ∫ p over the outermost tenth on each side (36 % of the area) / ∫ p. Pixels that lie partly
      in it count by their area, so that a uniform map has 0.36 at any resolution.
    - spread: sqrt(∫ p ((y − ȳ)² + (x − x̄)²) / ∫ p), with (ȳ, x̄) the centroid of p; 0 for a point, 0.41 for
      a uniform map.
    - positive_share: ∫ p / ∫ |a|.
    - energy: ∫ |a|, the mean absolute value, in units of the score that was explained.

    Peak, border_share and spread are NaN where nothing is positive, positive_share too where all is zero; all
    are NaN where there is no attribution.

    Args:
        method, layer, target, rank: as for `Results.attribution`.

    Returns:
        image_id, peak_y, peak_x, border_share, spread, positive_share, energy, all float64 but the first.

    Raises:
        RequestError: no such method, layer or target in this run.
        ShardError: a shard cannot be read.
    """
    image_ids: list[str] = []
    blocks: list[Floats] = [np.empty((0, len(COLUMNS)))]
    for ids, attributions in results.batches(method, layer, target, rank):
        image_ids += ids
        blocks.append(measure(attributions))
    frame = pd.DataFrame(np.concatenate(blocks), pd.Index(image_ids, name="image_id"), list(COLUMNS))
    return frame.reindex(results.image_ids).reset_index()


def measure(attributions: NDArray[np.float32]) -> Floats:
    """Measure attributions (n, height, width): float64 (n, 6), the columns in the order of `COLUMNS`."""
    n, height, width = attributions.shape
    there = np.isfinite(attributions.reshape(n, -1)).all(axis=1, keepdims=True)
    values = np.where(there, attributions.reshape(n, -1), 0).astype(np.float64)
    positive = np.maximum(values, 0)
    sums = positive @ _weights(height, width)
    total, in_border, y, x, squares = (sums / (height * width)).T
    total = np.where(total > 0, total, np.nan)
    variance = squares / total - (y / total) ** 2 - (x / total) ** 2
    absolute = np.abs(values).mean(axis=1)
    peak = np.where(total > 0, positive.argmax(axis=1), np.nan)
    columns: list[Any] = [
        (peak // width + 0.5) / height,
        (peak % width + 0.5) / width,
        in_border / total,
        np.sqrt(np.maximum(variance, 0)),
        np.where(np.isnan(total), 0, total) / np.where(absolute > 0, absolute, np.nan),
        absolute,
    ]
    return np.where(there, np.stack(columns, axis=1), np.nan)


def _weights(height: int, width: int) -> Floats:
    """Return what each pixel's value is multiplied with: (height · width, 5).

    The columns are 1, the share of the pixel's area in the border, and the means over the pixel of y, x and
    y² + x².
    """
    inner = np.outer(_inner_share(height), _inner_share(width))
    y, x = np.meshgrid(_centres(height), _centres(width), indexing="ij")
    squares = y**2 + x**2 + 1 / (12 * height**2) + 1 / (12 * width**2)  # ∫ t² over a pixel = c² + side² / 12
    return np.stack([np.ones_like(y), 1 - inner, y, x, squares], axis=-1).reshape(-1, 5)


def _centres(size: int) -> Floats:
    return (np.arange(size) + 0.5) / size


def _inner_share(size: int) -> Floats:
    """Return how much of each of `size` pixels along an axis lies within the border."""
    edges = np.clip(np.arange(size + 1) / size, BORDER, 1 - BORDER)
    return np.diff(edges) * size
