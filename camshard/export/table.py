"""The table of a run as CSV, safe to open in a spreadsheet, or as Parquet."""

from pathlib import Path
from typing import Any

import pandas as pd

from camshard.output import replacing

# OWASP, "CSV Injection": a cell that begins so is a formula to a spreadsheet; the last four are full-width
_FORMULA = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write UTF-8 CSV, an apostrophe before texts and column names that a spreadsheet takes for formulas.

    Raises:
        OSError: as the file system says.
    """
    safe = table.copy(deep=False)
    for at in range(table.shape[1]):  # by place: names may come twice
        column = table.iloc[:, at]
        if not pd.api.types.is_numeric_dtype(column):
            safe.isetitem(at, defuse(column).array)
    safe.columns = defuse(pd.Series(table.columns, dtype=object)).tolist()
    with replacing(path) as new_path:
        safe.to_csv(new_path, index=False, encoding="utf-8", lineterminator="\n")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write the table, values as they are; raises OSError."""
    with replacing(path) as new_path:
        table.to_parquet(new_path, index=False)


def defuse(texts: "pd.Series[Any]") -> "pd.Series[Any]":
    """Put an apostrophe before texts that begin like a formula and are no number; missing ones stay so."""
    given = texts.astype("str")
    formula = given.str.match(_FORMULA, na=False) & ~given.str.fullmatch(_NUMBER, na=False) & texts.notna()
    return texts.where(~formula, "'" + given)
