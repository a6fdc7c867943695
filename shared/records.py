"""Records: rows of the metadata CSV, and the manifest's table of them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

METADATA_PREFIX = "metadata_"
_EXACT_IN_FLOAT64 = 2**53


@dataclass(frozen=True)
class Records:
    """Rows of the metadata CSV, validated.

    Attributes:
        image_ids: str, in the CSV's order.
        image_paths: absolute path or URL of each image's file, None where there is none.
        labels: int16 (n,) class index, -1 unknown; multilabel: int8 (n, classes), 1, 0, or -1 unknown.
        metadata: every column of the CSV, named `metadata_<column>`.
    """

    image_ids: list[str]
    image_paths: list[str | None]
    labels: np.ndarray[Any, np.dtype[np.integer[Any]]]
    metadata: pa.Table

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, rows: list[int]) -> Self:
        """Return some of the records, in the order of `rows`."""
        return type(self)(
            image_ids=[self.image_ids[row] for row in rows],
            image_paths=[self.image_paths[row] for row in rows],
            labels=self.labels[rows],
            metadata=self.metadata.take(rows),
        )

    def frame(self, rows: slice) -> "pd.DataFrame":
        """Return `image_id` and the metadata columns, under their own names, of some rows."""
        import pandas as pd

        frame: pd.DataFrame = self.metadata.slice(rows.start, rows.stop - rows.start).to_pandas()
        frame.columns = [name.removeprefix(METADATA_PREFIX) for name in frame.columns]
        frame["image_id"] = pd.Series(self.image_ids[rows], dtype=object)
        return frame


def variable_names(metadata: pa.Table) -> dict[str, str]:
    """Return the name of each metadata column as an HDF5 variable: `.` for `/`, then `_` until it is free."""
    names: dict[str, str] = {}
    for column in metadata.column_names:
        names[column] = free_name(column.replace("/", "."), names.values())
    return names


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with as many `_` behind it as make it one that is not taken."""
    while name in taken:
        name += "_"
    return name


def plain_values(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a metadata column as HDF5 can hold it, no value altered.

    Returns:
        int64 for integers; float64 for numbers, missing ones NaN; else text, missing: "". Integers of which
        some are missing are float64, or text where one is too large for that.
    """
    if pa.types.is_floating(column.type):
        return np.asarray(column.cast(pa.float64()).to_numpy())
    if pa.types.is_integer(column.type):
        if not column.null_count:
            return np.asarray(column.cast(pa.int64()).to_numpy())
        known = column.drop_null().to_numpy()
        if not known.size or np.abs(known).max() <= _EXACT_IN_FLOAT64:
            return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    texts = ["" if one is None else str(one).replace("\0", "") for one in column.to_pylist()]
    return np.array(texts, object)


def records_to_table(records: Records, rows: slice = slice(None)) -> pa.Table:
    """Return the manifest's table of some rows: image_id, image_path, label, then the metadata columns."""
    labels = records.labels[rows]
    column = pa.array(labels) if labels.ndim == 1 else pa.array(list(labels), pa.list_(pa.int8()))
    table = records.metadata.slice(rows.start or 0, len(labels))
    for name, values in (
        ("label", column),
        ("image_path", pa.array(records.image_paths[rows], pa.string())),
        ("image_id", pa.array(records.image_ids[rows], pa.string())),
    ):
        table = table.add_column(0, name, values)
    return table


def labels_from_table(table: pa.Table) -> np.ndarray[Any, np.dtype[np.integer[Any]]]:
    """Return the labels in (a part of) the manifest's table, as `Records` has them."""
    label = table["label"].combine_chunks()
    if pa.types.is_list(label.type):
        return np.stack(label.to_numpy(zero_copy_only=False)).astype(np.int8)
    return np.asarray(label.to_numpy(zero_copy_only=False).astype(np.int16))


def records_from_table(table: pa.Table) -> Records:
    """Build records from (a part of) the manifest's table."""
    return Records(
        image_ids=table["image_id"].to_pylist(),
        image_paths=table["image_path"].to_pylist(),
        labels=labels_from_table(table),
        metadata=table.drop_columns(["image_id", "image_path", "label"]),
    )
