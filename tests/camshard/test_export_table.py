import csv
from pathlib import Path

import pandas as pd
import pytest

from camshard.export.table import defuse, write_csv, write_parquet


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-1+2", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "-"]
)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert defuse(pd.Series([text, "plain"])).tolist() == ["'" + text, "plain"]


@pytest.mark.parametrize("text", ["-1.5", "+2", "-1e-3", "1=1", "", "a-b", "'=1", "-.5"])
def test_numbers_and_other_texts_stay(text: str) -> None:
    assert defuse(pd.Series([text])).tolist() == [text]


def test_missing_values_stay_missing() -> None:
    assert defuse(pd.Series(["=1", None, float("nan")], dtype=object)).isna().tolist() == [False, True, True]


def test_csv_is_safe_in_cells_and_column_names_and_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "exports" / "table.csv"
    table = pd.DataFrame(
        {"image_id": ["=a", 'b,\n"c"'], "@age": [-1.5, None], "n": pd.array([-1, 2], "int8")}
    )
    write_csv(table, path)
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["image_id", "'@age", "n"],
            ["'=a", "-1.5", "-1"],
            ['b,\n"c"', "", "2"],
        ]
    assert table["image_id"][0] == "=a", "the caller's table is left alone"


def test_columns_of_one_name_are_all_made_safe(tmp_path: Path) -> None:
    write_csv(pd.DataFrame([["=1", "=2"]], columns=["a", "a"]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a,a\n'=1,'=2\n"


def test_parquet_has_the_values_as_they_are(tmp_path: Path) -> None:
    table = pd.DataFrame({"image_id": ["=a", None], "n": pd.array([-1, 2], "int8")})
    write_parquet(table, tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)
