"""Metadata columns as HDF5 can hold them."""

import numpy as np
import pyarrow as pa
import pytest

from shared.records import plain_values, variable_names

LARGE = 2**53 + 1


@pytest.mark.parametrize(
    ("column", "wanted", "dtype"),
    [
        ([LARGE, LARGE + 1], [LARGE, LARGE + 1], "int64"),
        ([1, None, 3], [1, np.nan, 3], "float64"),
        ([LARGE, None], [str(LARGE), ""], "object"),
        ([0.5, None], [0.5, np.nan], "float64"),
        ([True, None, False], ["True", "", "False"], "object"),
        (["a", None, "b\0c"], ["a", "", "bc"], "object"),
        (pa.array([None, None], pa.int64()), [np.nan, np.nan], "float64"),
    ],
)
def test_no_value_is_altered(column: object, wanted: list[object], dtype: str) -> None:
    found = plain_values(pa.chunked_array([column]))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.array(wanted, dtype))


def test_names_that_would_collide_are_told_apart() -> None:
    table = pa.table({"metadata_a/b": [1], "metadata_a.b": [2], "metadata_a.b_": [3]})
    assert list(variable_names(table).values()) == ["metadata_a.b", "metadata_a.b_", "metadata_a.b__"]
