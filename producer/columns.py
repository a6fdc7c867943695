"""Cells of the metadata CSV to columns: numbers where nothing of the text is lost, else text as it stands."""

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)  # int64 has no more digits
_INT64 = np.iinfo(np.int64)
_NO_NUMBER = ("na", "n/a", "nan", "null", "none")  # what stands for a blank among numbers


def column_from_text(column: "pd.Series[str]") -> "pd.Series[Any]":
    """Return a column as bool, int64 or float64 if each of its cells means exactly that, else unchanged.

    A leading zero (007), or a number that int64 and float64 do not hold, keeps the whole column text. In a
    column of numbers, cells such as NA and nan count as blank.

    Args:
        column: str, NA where blank.
    """
    cells = {text: text.strip() for text in column.dropna().unique()}
    if not column.hasnans and set(cells) <= {"True", "False"}:
        return column == "True"
    numbers = {text: cell for text, cell in cells.items() if cell.casefold() not in _NO_NUMBER}
    if not numbers or not all(map(_NUMBER.fullmatch, numbers.values())):
        return column
    full = not column.hasnans and len(numbers) == len(cells)
    if full and all(map(_is_int64, numbers.values())):
        return column.map({text: int(cell) for text, cell in numbers.items()}).astype(np.int64)
    if all(map(_is_float64, numbers.values())):
        return column.map({text: float(cell) for text, cell in numbers.items()}).astype(np.float64)
    return column


def _is_int64(cell: str) -> bool:
    return _INTEGER.fullmatch(cell) is not None and _INT64.min <= int(cell) <= _INT64.max


def _is_float64(cell: str) -> bool:
    return Decimal(repr(float(cell))) == Decimal(cell)
