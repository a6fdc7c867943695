"""Columns of the metadata CSV: which become numbers, and that no other cell is altered."""

import numpy as np
import pandas as pd
import pytest

from producer.columns import column_from_text


@pytest.mark.parametrize(
    ("cells", "values", "dtype"),
    [
        (["7", "-12", " 0 "], [7, -12, 0], np.int64),
        (["9007199254740993", "1"], [9007199254740993, 1], np.int64),
        (["7", None], [7, np.nan], np.float64),
        (["7", "NA", "nan", "None"], [7, np.nan, np.nan, np.nan], np.float64),
        (["80.0", "+0.5", ".5", "1e-3"], [80, 0.5, 0.5, 0.001], np.float64),
        (["0.1", "0.30000000000000004"], [0.1, 0.1 + 0.2], np.float64),
        (["True", "False"], [True, False], np.bool_),
    ],
)
def test_numbers_that_lose_nothing_become_numbers(cells: list[str], values: list[float], dtype: type) -> None:
    column = column_from_text(pd.Series(cells, dtype="str"))
    assert column.dtype == dtype
    np.testing.assert_array_equal(column.to_numpy(), np.array(values, dtype))


@pytest.mark.parametrize(
    "cells",
    [
        ["007", "012"],
        ["7", "007"],
        ["9007199254740993", None],
        ["9223372036854775808", "1"],
        ["0.12345678901234567890"],
        ["1e400"],
        ["1_000"],
        ["0x1f"],
        ["inf"],
        ["TRUE", "FALSE"],
        ["True", None],
        ["NA", "NA"],
        ["7", "unknown"],
        [None, None],
    ],
    ids=str,
)
def test_whatever_would_be_altered_stays_text(cells: list[str | None]) -> None:
    column = column_from_text(pd.Series(cells, dtype="str"))
    assert column.dtype == "str"
    assert [None if pd.isna(cell) else cell for cell in column] == cells


def test_a_cell_of_thousands_of_digits_stays_text() -> None:
    cells = ["1" * 5_000, "1"]
    assert column_from_text(pd.Series(cells, dtype="str")).tolist() == cells
