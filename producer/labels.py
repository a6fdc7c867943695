"""Label columns to class indices."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from producer.metadata import Metadata
from shared.errors import MetadataError
from shared.model_spec import ModelSpec

Labels = NDArray[np.integer[Any]]


def class_names(metadata: Metadata, separator: str | None, no_label: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sorted unique labels of the whole CSV (one-hot: the classes of its columns).

    Sorted as Keras' `flow_from_dataframe` numbers classes that are given as text.
    """
    if metadata.class_of_column:
        return tuple(sorted(metadata.class_of_column.values()))
    if not metadata.label_columns:
        return ()
    ignored = {one.casefold() for one in no_label}
    values = _split(metadata.frame[metadata.label_columns[0]].dropna(), separator)
    return tuple(sorted(name for name in values.unique() if name and name.casefold() not in ignored))


def read_labels(
    metadata: Metadata, frame: pd.DataFrame, spec: ModelSpec, separator: str | None, no_label: tuple[str, ...]
) -> Labels:
    """Return the labels of `frame`'s rows.

    Returns:
        int16 (n,) class index, -1 unknown; for multilabel int8 (n, classes), 1, 0, or -1 unknown.

    Raises:
        MetadataError: a label outside the classes, or several where one is wanted.
    """
    if not metadata.label_columns:
        shape = (len(frame), len(spec.classes)) if spec.task == "multilabel" else (len(frame),)
        return np.full(shape, -1, np.int8 if spec.task == "multilabel" else np.int16)
    if metadata.class_of_column:
        known, matrix = _one_hot(metadata, frame, spec)
    else:
        if separator and spec.task != "multilabel":
            raise MetadataError(
                f"--label-separator {separator!r}: the task is {spec.task}, an image has one label."
            )
        known, matrix = _from_text(metadata, frame, spec, separator, no_label)
    if spec.task == "multilabel":
        return np.where(known[:, None], matrix, -1).astype(np.int8)
    return _single(metadata, frame, matrix)


def _split(column: "pd.Series[str]", separator: str | None) -> "pd.Series[str]":
    values = column.str.split(separator, regex=False).explode() if separator else column
    return values.str.strip()


def _from_text(
    metadata: Metadata, frame: pd.DataFrame, spec: ModelSpec, separator: str | None, no_label: tuple[str, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    column = frame[metadata.label_columns[0]].reset_index(drop=True)
    known = column.notna().to_numpy()
    values = _split(column[known], separator)
    values = values[values != ""]
    index_of = {name.casefold(): index for index, name in enumerate(spec.classes)}
    index_of.update({name.casefold(): -1 for name in no_label})
    indices = values.map(
        {text: index_of[text.casefold()] for text in values.unique() if text.casefold() in index_of}
    )
    if indices.isna().any():
        strangers = sorted(values[indices.isna()].unique())
        raise MetadataError(
            f"{metadata.path}: column {metadata.label_columns[0]!r}: {', '.join(map(repr, strangers[:5]))}"
            f"{', …' if len(strangers) > 5 else ''} is none of the classes {', '.join(spec.classes)} "
            f"({int(indices.isna().sum())} rows). Name the classes with --classes or in the spec, or what "
            "means none of them with --no-label; several labels in one cell need --label-separator."
        )
    indices = indices[indices >= 0].astype(int)
    matrix = np.zeros((len(frame), len(spec.classes)), bool)
    matrix[indices.index.to_numpy(), indices.to_numpy()] = True
    return known, matrix


def _one_hot(
    metadata: Metadata, frame: pd.DataFrame, spec: ModelSpec
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    column_of = {name.casefold(): column for column, name in metadata.class_of_column.items()}
    missing = [name for name in spec.classes if name.casefold() not in column_of]
    strangers = [name for name in column_of if name not in {one.casefold() for one in spec.classes}]
    if missing or strangers:
        raise MetadataError(
            f"{metadata.path}: --label-columns {', '.join(metadata.class_of_column)} do not match the "
            f"classes {', '.join(spec.classes)} by name. Name pairs with --label-columns class=COLUMN,…"
        )
    columns = frame[[column_of[name.casefold()] for name in spec.classes]]
    try:
        values = columns.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise MetadataError(f"{metadata.path}: one-hot columns must hold 0 and 1: {error}.") from error
    known = ~np.isnan(values).any(axis=1)
    if not np.isin(values[known], (0, 1)).all():
        row = frame.index[known][~np.isin(values[known], (0, 1)).all(axis=1)][0]
        raise MetadataError(f"{metadata.path}: line {row + 2}: one-hot columns must hold 0 and 1.")
    return known, values == 1


def _single(metadata: Metadata, frame: pd.DataFrame, matrix: NDArray[np.bool_]) -> Labels:
    several = matrix.sum(axis=1) > 1
    if several.any():
        image_id = frame[metadata.id_column].iloc[int(np.argmax(several))]
        raise MetadataError(
            f"{metadata.path}: {int(several.sum())} rows have several labels, first {image_id!r}; "
            "the model's task allows one. Name another with --task multilabel if the head is sigmoid."
        )
    return np.where(matrix.any(axis=1), matrix.argmax(axis=1), -1).astype(np.int16)
