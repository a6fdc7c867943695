"""Metadata CSV to validated rows: ids, labels, the other columns."""

import csv
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd

from producer.columns import column_from_text
from shared.errors import MetadataError
from shared.file_cache import FileCache, local_copy
from shared.locations import Location
from shared.settings import Settings

_DELIMITERS = ",\t;"
DEFAULT_LABEL_COLUMN = "dx"
# a backslash, a control character, more than one /, a part that is empty, . or ..
_UNSAFE = r"[\\\x00-\x1f]|/.*/|^/|/$|^\.\.?(?:/|$)|/\.\.?$"


@dataclass(frozen=True)
class MetadataOptions:
    """How the CSV is read; the fields are those of `Settings`."""

    id_column: str
    label_column: str | None
    label_columns: tuple[str, ...]
    group_column: str
    keep_duplicates: bool
    encoding: str

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take what concerns the CSV from the settings."""
        return cls(
            id_column=settings.id_column,
            label_column=settings.label_column,
            label_columns=settings.label_columns,
            group_column=settings.group_column,
            keep_duplicates=settings.keep_duplicates is not None,
            encoding=settings.encoding,
        )


@dataclass(frozen=True)
class Metadata:
    """The CSV, read and checked, before any row is left out.

    Attributes:
        frame: every column; ids, labels and groups are str, so is what holds anything but numbers; blanks
            are NA.
        id_column, label_columns: the columns with a meaning; one label column unless one-hot.
        class_of_column: the class that each one-hot column stands for, by the column's name.
    """

    path: Location
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
    frame = _read_frame(path, options.encoding, header, delimiter)
    if frame.empty:
        raise MetadataError(f"{path}: no rows below the header.")
    frame[options.id_column] = frame[options.id_column].str.strip()
    _check_ids(path, frame[options.id_column])
    frame = _without_duplicates(path, frame, options)
    as_text = {options.id_column, options.group_column, *(() if class_of_column else label_columns)}
    frame = pd.DataFrame(
        {name: cells if name in as_text else column_from_text(cells) for name, cells in frame.items()}
    )
    return Metadata(path, frame, options.id_column, label_columns, class_of_column)


def fetch_metadata(place: Location, options: MetadataOptions, cache: FileCache | None) -> Metadata:
    """Read a metadata CSV on a path or at a URL.

    Raises:
        MetadataError: what `read_metadata` raises.
        StorageError: the URL cannot be reached.
    """
    with local_copy(place, cache) as path:
        if path is None:
            raise MetadataError(f"{place}: no such metadata CSV. Name it with --metadata.")
        try:
            return replace(read_metadata(path, options), path=place)
        except MetadataError as error:  # it names the copy
            raise MetadataError(str(error).replace(str(path), str(place))) from error


def select_rows(metadata: Metadata, where: tuple[str, ...], ids: Path | None) -> pd.DataFrame:
    """Keep the rows that --where and --ids ask for, in the CSV's order.

    Raises:
        MetadataError: an unknown column or id, or nothing is left.
    """
    frame = keep_matching(metadata.frame, where, metadata.path)
    if ids is not None:
        frame = _only_ids(metadata, frame, ids)
    if frame.empty:
        raise MetadataError(
            f"{metadata.path}: no row is left of {len(metadata.frame)} after --where and --ids."
        )
    return frame


def keep_matching(frame: pd.DataFrame, where: tuple[str, ...], holder: object) -> pd.DataFrame:
    """Keep the rows that match COLUMN=VALUE for every column, one of the values where a column comes twice.

    Args:
        holder: what the frame is of, for the error.

    Raises:
        MetadataError: no such column, or not of that form.
    """
    for column, values in _conditions(where).items():
        if column not in frame.columns:
            raise MetadataError(
                f"--where {column}: {holder} has no such column. Columns: {', '.join(frame.columns)}."
            )
        frame = frame[_matches(frame[column], values)]
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
    except UnicodeError as error:
        raise _not_that_text(path, encoding, error) from error
    except LookupError as error:
        raise MetadataError(
            f"--encoding {encoding!r}: no text encoding of that name. Allowed are those of Python: "
            "utf-8, utf-16, latin-1, cp1252, …"
        ) from error
    if not line:
        raise MetadataError(f"{path}: the file is empty. A header line and a row an image are wanted.")
    try:
        headers = {one: next(csv.reader([line], delimiter=one)) for one in _DELIMITERS}
    except csv.Error as error:
        raise MetadataError(f"{path}: the header cannot be read as CSV: {error}.") from error
    delimiter = max(headers, key=lambda one: len(headers[one]))
    return [name.strip() for name in headers[delimiter]], delimiter


def _read_frame(path: Path, encoding: str, header: list[str], delimiter: str) -> pd.DataFrame:
    """Read every cell as text; empty ones are NA."""
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise MetadataError(f"{path}: the header has a column twice: {', '.join(map(repr, doubled))}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # said of rows that would lose cells
            return pd.read_csv(
                path, sep=delimiter, names=header, header=0, dtype="str", na_values=[""],
                keep_default_na=False, encoding=encoding, index_col=False, skipinitialspace=True,
            )  # fmt: skip
    except pd.errors.ParserWarning as error:
        raise MetadataError(
            f"{path}: rows have more cells than the header has columns ({len(header)}). "
            "Put cells that hold the delimiter in double quotes."
        ) from error
    except UnicodeError as error:
        raise _not_that_text(path, encoding, error) from error
    except (pd.errors.ParserError, ValueError) as error:
        raise MetadataError(f"{path}: cannot be read as CSV: {str(error).strip()}.") from error


def _not_that_text(path: Path, encoding: str, error: UnicodeError) -> MetadataError:
    return MetadataError(
        f"{path}: not {encoding} text: {error}. Name the encoding it has with --encoding: "
        "utf-8, utf-16, latin-1, cp1252, …"
    )


def _check_ids(path: Path, ids: "pd.Series[str]") -> None:
    blank = ids.isna() | (ids == "")
    if blank.any():
        rows = ", ".join(str(row + 2) for row in ids.index[blank][:5])
        raise MetadataError(f"{path}: {int(blank.sum())} rows without an image id, first in lines {rows}.")
    unsafe = ids.str.contains(_UNSAFE, regex=True)
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
