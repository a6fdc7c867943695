"""The rows of a run that an export is about."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camshard.export.request import ExportRequest, split
from camshard.selection import predicted_class
from producer.metadata import keep_matching
from shared.errors import RequestError
from shared.model_spec import ModelSpec
from shared.places import find_places
from shared.run import Run

if TYPE_CHECKING:
    from camshard.results import Results


@dataclass(frozen=True)
class Row:
    """One record, as pictures of it need it.

    Attributes:
        image_path: None where there was no file when the run was planned.
        label: class name, None if unknown; of several labels, all.
        prediction: class name (multilabel: see `predicted_class`), None where the row failed.
        targets: class names by rank, None where there is none.
        probabilities: by class name.
    """

    image_id: str
    image_path: str | None
    status: int
    error: str
    label: str | None
    prediction: str | None
    targets: tuple[str | None, ...]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Rows:
    """The chosen records.

    Attributes:
        table: their part of the run's table; its index is their place in the run's table.
        run: for the classes, and what was asked.
        image_paths: (n,), None where there was no file.
        targets: int16 (n, ranks), the class indices that were explained, -1 none.
    """

    table: pd.DataFrame
    run: Run
    image_paths: list[str | None]
    targets: NDArray[np.int16]

    @property
    def spec(self) -> ModelSpec:
        """The model's."""
        return self.run.spec

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Row]:
        classes = self.spec.classes
        probabilities = self.table[[f"probability_{name}" for name in classes]].to_numpy()
        labels, predictions = self._labels(), self._predictions(probabilities)
        columns = (self.table[name].tolist() for name in ("image_id", "status", "error"))
        for place, (image_id, status, error) in enumerate(zip(*columns, strict=True)):
            yield Row(
                image_id,
                self.image_paths[place],
                status,
                error,
                labels[place],
                predictions[place],
                tuple(classes[index] if index >= 0 else None for index in self.targets[place].tolist()),
                dict(zip(classes, probabilities[place].tolist(), strict=True)),
            )

    def _labels(self) -> list[str | None]:
        if self.spec.task != "multilabel":
            return _none_where_missing(self.table["label"])
        known = self.table[[f"label_{name}" for name in self.spec.classes]].to_numpy()
        names = [[self.spec.classes[at] for at in np.flatnonzero(row == 1)] for row in known]
        return [
            None if (row < 0).all() else ", ".join(one) or "none"
            for row, one in zip(known, names, strict=True)
        ]

    def _predictions(self, probabilities: NDArray[Any]) -> list[str | None]:
        if self.spec.task != "multilabel":
            return _none_where_missing(self.table["prediction"])
        failed = np.isnan(probabilities).any(axis=1)
        flags = self.table[[f"prediction_{name}" for name in self.spec.classes]].to_numpy()
        chosen = predicted_class(self.run, probabilities, flags)
        return [None if fails else self.spec.classes[at] for fails, at in zip(failed, chosen, strict=True)]


def choose_table(results: "Results", request: ExportRequest) -> pd.DataFrame:
    """Return the rows that --ids, --where and --limit leave of the run's table.

    Raises:
        RequestError: an unknown id, or nothing is left.
        MetadataError: an unknown column.
    """
    table: pd.DataFrame = results.table
    if request.ids is not None:
        table = _only_ids(table, request.ids, results)
    table = keep_matching(table, split(request.where), results.run.dir)
    if table.empty:
        raise RequestError(
            f"{results.run.dir}: no row is left of {len(results.table)} after --ids and --where."
        )
    return table if request.limit is None else table.head(request.limit)


def choose_rows(results: "Results", request: ExportRequest) -> Rows:
    """Return the same rows with their images and what was explained; raises what `choose_table` does."""
    table = choose_table(results, request)
    records = results.run.records()
    path_of = dict(zip(records.image_ids, records.image_paths, strict=True))
    image_paths = [path_of[image_id] for image_id in table["image_id"]]
    return Rows(table, results.run, image_paths, read_variable(results, "target")[table.index])


def read_variable(results: "Results", name: str) -> NDArray[Any]:
    """Read a variable of all records that are there, in the order of the run's table."""
    return find_places(results.run, results.files).read((name,))[name]


def _only_ids(table: pd.DataFrame, text: str, results: "Results") -> pd.DataFrame:
    wanted = list(dict.fromkeys(_read_ids(text)))
    places = pd.Index(table["image_id"]).get_indexer(pd.Index(wanted, dtype=object))
    unknown = [one for one, place in zip(wanted, places, strict=True) if place < 0]
    if unknown:
        raise RequestError(
            f"--ids: {len(unknown)} of {len(wanted)} are neither a file nor images of {results.run.dir}, "
            f"first {', '.join(unknown[:3])}."
        )
    chosen: pd.DataFrame = table.iloc[places]
    return chosen


def _read_ids(text: str) -> tuple[str, ...]:
    if not os.path.isfile(text):
        return split(text)
    try:
        lines = Path(text).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"--ids {text}: cannot be read: {error}.") from error
    return tuple(line.strip() for line in lines if line.strip())


def _none_where_missing(column: "pd.Series[Any]") -> list[str | None]:
    return [None if missing else value for value, missing in zip(column, column.isna(), strict=True)]
