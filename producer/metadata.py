"""Metadata CSV to validated rows: ids, labels, the other columns."""

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from shared.errors import MetadataError

_DELIMITERS = ",\t;"
_BLANKS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]
DEFAULT_LABEL_COLUMN = "dx"


@dataclass(frozen=True)
class MetadataOptions:
    """How the CSV is read; the fields are those of `Settings`."""

    id_column: str
    label_column: str | None
    label_columns: tuple[str, ...]
    keep_duplicates: bool
    encoding: str


@dataclass(frozen=True)
class Metadata:
    """The CSV, read and checked, before any row is left out.

    Attributes:
        frame: every column; ids and labels are str, blanks are NA.
        id_column, label_columns: the columns with a meaning; one label column unless one-hot.
        class_of_column: the class that each one-hot column stands for, by the column's name.
    """

    path: Path
    frame: pd.DataFrame
    id_column: str
    label_columns: tuple[str, ...]
    class_of_column: dict[str, str]


def read_metadata(path: Path, options: MetadataOptions) -> Metadata:
    """Read a metadata CSV (comma, tab or semicolon).

    Raises:
        MetadataError: no such file, no rows, no such column, blank, duplicate or unsafe ids.
    """
    class_of_column = dict(_column_and_class(one) for one in options.label_columns)
    header, delimiter = _read_header(path, options.encoding)
    label_columns = tuple(class_of_column) or _label_column(path, options, header)
    for column in (options.id_column, *label_columns):
        if column not in header:
            flag = "--id-column" if column == options.id_column else _label_flag(class_of_column)
            raise MetadataError(
                f"{path}: column {column!r} is not there. Columns: {', '.join(header)}. "
                f"Name the right one with {flag}."
            )
    frame = _read_frame(path, options, header, delimiter, label_columns)
    if frame.empty:
        raise MetadataError(f"{path}: no rows below the header.")
    frame[options.id_column] = frame[options.id_column].str.strip()
    _check_ids(path, frame[options.id_column])
    frame = _large_integers_as_text(_without_duplicates(path, frame, options))
    return Metadata(path, frame, options.id_column, label_columns, class_of_column)


def select_rows(metadata: Metadata, where: tuple[str, ...], ids: Path | None) -> pd.DataFrame:
    """Keep the rows that --where and --ids ask for, in the CSV's order.

    Raises:
        MetadataError: an unknown column or id, or nothing is left.
    """
    frame = metadata.frame
    for column, values in _conditions(where).items():
        if column not in frame.columns:
            raise MetadataError(
                f"--where {column}: {metadata.path} has no such column. Columns: {', '.join(frame.columns)}."
            )
        frame = frame[_matches(frame[column], values)]
    if ids is not None:
        frame = _only_ids(metadata, frame, ids)
    if frame.empty:
        raise MetadataError(
            f"{metadata.path}: no row is left of {len(metadata.frame)} after --where and --ids."
        )
    return frame


def _column_and_class(text: str) -> tuple[str, str]:
    """Split `mel=MEL` (class=column) into column and class; a bare column stands for its own name."""
    class_name, _, column = text.partition("=")
    return (column or class_name, class_name)


def _label_flag(class_of_column: dict[str, str]) -> str:
    return "--label-columns" if class_of_column else "--label-column"


def _label_column(path: Path, options: MetadataOptions, header: list[str]) -> tuple[str, ...]:
    if options.label_column is not None:
        return (options.label_column,)
    return (DEFAULT_LABEL_COLUMN,) if DEFAULT_LABEL_COLUMN in header else ()


def _read_header(path: Path, encoding: str) -> tuple[list[str], str]:
    try:
        with path.open(encoding=encoding, newline="") as file:
            line = next((line for line in file if line.strip()), "")
    except OSError as error:
        raise MetadataError(f"{path}: the metadata CSV cannot be read: {error.strerror}.") from error
    except (UnicodeError, LookupError) as error:
        raise MetadataError(f"{path}: not {encoding} text: {error}. Name it with --encoding.") from error
    if not line:
        raise MetadataError(f"{path}: the file is empty. A header line and a row an image are wanted.")
    try:
        headers = {one: next(csv.reader([line], delimiter=one)) for one in _DELIMITERS}
    except csv.Error as error:
        raise MetadataError(f"{path}: the header cannot be read as CSV: {error}.") from error
    delimiter = max(headers, key=lambda one: len(headers[one]))
    return [name.strip() for name in headers[delimiter]], delimiter


def _read_frame(
    path: Path, options: MetadataOptions, header: list[str], delimiter: str, label_columns: tuple[str, ...]
) -> pd.DataFrame:
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise MetadataError(f"{path}: the header has a column twice: {', '.join(map(repr, doubled))}.")
    as_text = [options.id_column, *(() if options.label_columns else label_columns)]
    blanks: dict[Any, Any] = {name: [""] if name in as_text else _BLANKS for name in header}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # said of rows that would lose cells
            return pd.read_csv(
                path, sep=delimiter, names=header, header=0, dtype=dict.fromkeys(as_text, "str"),
                na_values=blanks, keep_default_na=False, encoding=options.encoding, index_col=False,
                skipinitialspace=True, low_memory=False,
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        raise MetadataError(
            f"{path}: rows have more cells than the header has columns ({len(header)}). "
            "Put cells that hold the delimiter in double quotes."
        ) from error
    except UnicodeError as error:
        raise MetadataError(
            f"{path}: not {options.encoding} text: {error}. Name it with --encoding."
        ) from error
    except (pd.errors.ParserError, ValueError) as error:
        raise MetadataError(f"{path}: cannot be read as CSV: {str(error).strip()}.") from error


def _large_integers_as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn columns with integers of more than 64 bits, which Parquet does not have, into text."""
    large = [
        name for name in frame.columns
        if frame[name].dtype == object and pd.api.types.infer_dtype(frame[name]) == "integer"
    ]  # fmt: skip
    return frame.astype(dict.fromkeys(large, "str"))


def _check_ids(path: Path, ids: "pd.Series[str]") -> None:
    blank = ids.isna() | (ids == "")
    if blank.any():
        rows = ", ".join(str(row + 2) for row in ids.index[blank][:5])
        raise MetadataError(f"{path}: {int(blank.sum())} rows without an image id, first in lines {rows}.")
    parts = ids.str.split("/")
    unsafe = ids.str.contains(r"[\\\x00-\x1f]", regex=True) | parts.map(
        lambda names: len(names) > 2 or any(name in ("", ".", "..") for name in names)
    )
    if unsafe.any():
        raise MetadataError(
            f"{path}: {int(unsafe.sum())} image ids are no plain file names, first {ids[unsafe].iloc[0]!r}. "
            "An id is a file's name, with or without its extension, or folder/name; "
            "name the folder with --images."
        )


def _without_duplicates(path: Path, frame: pd.DataFrame, options: MetadataOptions) -> pd.DataFrame:
    doubled = frame[options.id_column].duplicated()
    if not doubled.any():
        return frame
    if options.keep_duplicates:
        return frame[~doubled]
    names = frame.loc[doubled, options.id_column].drop_duplicates()
    raise MetadataError(
        f"{path}: {int(doubled.sum())} rows repeat an image id: {', '.join(names[:3])}"
        f"{', …' if len(names) > 3 else ''}. Mend the CSV, or take the first of each with "
        "--keep-duplicates first."
    )


def _conditions(where: tuple[str, ...]) -> dict[str, list[str]]:
    conditions: dict[str, list[str]] = {}
    for one in where:
        column, equals, value = one.partition("=")
        if not equals:
            raise MetadataError(f"--where {one!r}: COLUMN=VALUE is wanted.")
        conditions.setdefault(column.strip(), []).append(value.strip())
    return conditions


def _matches(column: "pd.Series[Any]", values: list[str]) -> "pd.Series[bool]":
    """Compare as text, and as numbers where the column holds numbers (`80` is 80.0)."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.isin(pd.to_numeric(pd.Series(values), errors="coerce").dropna())
    return column.astype("str").isin(values)


def _only_ids(metadata: Metadata, frame: pd.DataFrame, ids: Path) -> pd.DataFrame:
    try:
        wanted = [line.strip() for line in ids.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(f"--ids {ids}: cannot be read: {error}.") from error
    unknown = sorted(set(wanted) - set(metadata.frame[metadata.id_column]))
    if unknown:
        raise MetadataError(
            f"--ids {ids}: {len(unknown)} ids are not in {metadata.path}, first {', '.join(unknown[:3])}."
        )
    return frame[frame[metadata.id_column].isin(wanted)]
