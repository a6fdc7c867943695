"""Two runs over the same records: do their models agree, and do they look at the same places?"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camshard.analysis.correlation import correlate, larger_size
from camshard.analysis.matching import MatchedRecords, choose_pairs, match_records
from shared.run import Run
from shared.shard_layout import attribution_bytes, attribution_size

if TYPE_CHECKING:
    from camshard.results import Results

Pair = tuple[str, str]  # method and layer

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BLOCK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two runs say of the records that both have.

    Attributes:
        run, other: the runs.
        method: whose attributions are correlated.
        layer, other_layer: where, in each.
        table: a row a record that both have, in the order of the first run, with the columns

            - image_id
            - label: of the second run where the first knows none
            - prediction, prediction_other: class names, for multilabel joined with `|`; missing where failed
            - agree: whether they are the same; missing where one failed
            - probability_difference: the largest over the classes, float32
            - target: the class whose attributions are correlated, the first run's default: the one that it
              predicts, the label where it explains labels; missing where failed or unlabelled
            - correlation: Pearson's, over the pixels of the raw attributions; NaN where one of the runs did
              not explain the target, or an attribution is the same everywhere
    """

    run: Run
    other: Run
    method: str
    layer: str
    other_layer: str
    table: pd.DataFrame

    @property
    def num_records(self) -> int:
        """How many records both runs have."""
        return len(self.table)

    @property
    def num_failed(self) -> int:
        """How many of them failed in at least one of the runs."""
        return int(self.table["agree"].isna().sum())

    @property
    def agreement(self) -> float:
        """The share of equal predictions, of the records that failed in neither run; NaN without any."""
        return _mean(self.table["agree"].dropna())

    @property
    def accuracy(self) -> float:
        """The first run's share of right predictions, of the labelled records that failed in neither run."""
        return self._accuracy("prediction")

    @property
    def accuracy_other(self) -> float:
        """The second run's share of right predictions, of the same records."""
        return self._accuracy("prediction_other")

    @property
    def mean_correlation(self) -> float:
        """The mean of the correlations that are known; NaN without any."""
        return _mean(self.table["correlation"].dropna())

    @property
    def correlation_quantiles(self) -> dict[float, float]:
        """The quantiles of the correlations that are known, at 5, 25, 50, 75 and 95 %."""
        quantiles = self.table["correlation"].quantile(list(QUANTILES))
        return {at: float(value) for at, value in zip(QUANTILES, quantiles, strict=True)}

    def _accuracy(self, column: str) -> float:
        known = self.table[self.table["agree"].notna() & self.table["label"].notna()]
        return _mean(known["label"] == known[column])

    def __repr__(self) -> str:
        lines = "\n".join(f"  {name}: {value}" for name, value in self._lines().items())
        return f"<camshard comparison of run {self.run.run_id} with run {self.other.run_id}\n{lines}>"

    def _repr_html_(self) -> str:
        cells = (
            f'<tr><th style="text-align: left; padding-right: 1em">{escape(name)}</th>'
            f'<td style="text-align: left">{escape(value)}</td></tr>'
            for name, value in self._lines().items()
        )
        return f'<table style="color: inherit; font-size: inherit">{"".join(cells)}</table>'

    def _lines(self) -> dict[str, str]:
        known = int(self.table["correlation"].notna().sum())
        at = self.correlation_quantiles
        correlation = f"mean {self.mean_correlation:.2f}, median {at[0.5]:.2f}, "
        correlation += f"90 % within {at[0.05]:.2f} to {at[0.95]:.2f}, over {known:,} records"
        accuracies = f"{self.accuracy:.1%} (first), {self.accuracy_other:.1%} (second)"
        failed = f"{self.num_failed:,}" if self.num_failed else "none"
        layers = " and ".join(dict.fromkeys((self.layer, self.other_layer)))
        return {
            "first": f"{self.run.dir}, model {self.run.model_path.name}",
            "second": f"{self.other.dir}, model {self.other.model_path.name}",
            "records in both": f"{self.num_records:,}, {failed} of them failed",
            "same prediction": _unless_nan(self.agreement, f"{self.agreement:.1%}"),
            "accuracy": _unless_nan(self.accuracy, accuracies),
            f"correlation of {self.method} at {layers}": _unless_nan(self.mean_correlation, correlation),
        }


def compare(
    results: "Results", other: "Results", method: str | None = None, layer: str | None = None
) -> Comparison:
    """Compare the predictions and attributions of two runs, record by record, in bounded memory.

    Records are matched by image id, classes by name whatever their case. The attributions are those of the
    first run's default target (see `Results.attribution`); where sizes differ, they are resized to the larger
    one, bilinearly with half-pixel centres.

    Args:
        method: default Grad-CAM, or else the first method that both have.
        layer: of both runs; default the last one of each.

    Raises:
        RequestError: different classes or tasks, no record in common, or a run lacks the method or layer.
        ShardError: a shard cannot be read.
    """
    pair, other_pair = choose_pairs(results.run, other.run, method, layer)
    first, second = match_records(results, other)
    table = _compare_predictions(first, second)
    target = first.default_target()
    table["target"] = _names(first, target)
    table["correlation"] = _correlations((first, pair), (second, other_pair), target)
    return Comparison(results.run, other.run, pair[0], pair[1], other_pair[1], table)


def _compare_predictions(first: MatchedRecords, second: MatchedRecords) -> pd.DataFrame:
    label = first.classes_in("label")
    ours, theirs = first.classes_in("prediction"), second.classes_in("prediction")
    same = (ours == theirs).reshape(len(ours), -1).all(axis=1)
    difference = np.abs(first.probabilities - second.probabilities).max(axis=1)
    return pd.DataFrame(
        {
            "image_id": first.image_ids,
            "label": _names(first, np.where(label >= 0, label, second.classes_in("label"))),
            "prediction": _names(first, ours),
            "prediction_other": _names(first, theirs),
            "agree": pd.Series(same, dtype="boolean").where(first.ok & second.ok),
            "probability_difference": difference.astype(np.float32),
        }
    )


def _names(records: MatchedRecords, values: NDArray[Any]) -> list[str | None]:
    """Return class names of indices (n,), or joined names of flags (n, classes); None where there is a -1."""
    classes = records.run.spec.classes
    if values.ndim == 1:
        return [classes[index] if index >= 0 else None for index in values.tolist()]
    return [
        "|".join(name for name, flag in zip(classes, flags, strict=True) if flag) if min(flags) >= 0 else None
        for flags in values.tolist()
    ]


def _correlations(
    first: tuple[MatchedRecords, Pair], second: tuple[MatchedRecords, Pair], target: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each record's correlation, NaN where one of the runs did not explain the target."""
    sides = (first, second)
    ranks = np.stack([records.ranks(target) for records, _ in sides])
    ranks[:, (ranks < 0).any(axis=0)] = -1
    found = np.full(len(target), np.nan)
    for block in _blocks(first, second):
        ours, theirs = (
            records.attributions(pair, block, rank[block])
            for (records, pair), rank in zip(sides, ranks, strict=True)
        )
        found[block] = correlate(ours, theirs)
    return found


def _blocks(first: tuple[MatchedRecords, Pair], second: tuple[MatchedRecords, Pair]) -> Iterator[slice]:
    """Cut the records into blocks whose attributions fit the memory, as they are stored and when resized."""
    runs = [(records.run, layer) for records, (_, layer) in (first, second)]
    height, width = larger_size(*(attribution_size(run, layer) for run, layer in runs))
    most = max(1, _BLOCK_BYTES // max(8 * height * width, *(attribution_bytes(*one) for one in runs)))
    number = len(first[0].positions)
    return (slice(start, min(start + most, number)) for start in range(0, number, most))


def _mean(values: "pd.Series[Any]") -> float:
    return float(values.mean()) if len(values) else float("nan")


def _unless_nan(value: float, text: str) -> str:
    return "unknown" if np.isnan(value) else text
