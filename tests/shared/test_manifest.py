"""The manifest: whole shards in row groups, any rows read, open as long as it is the same file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared import manifest
from shared.errors import RunError
from shared.manifest import Manifest, reading_manifest, write_manifest
from shared.records import Records, records_to_table
from shared.run import Run


def make_records(number: int) -> Records:
    ids = [f"i{row}" for row in range(number)]
    return Records(
        ids, [None] * number, np.zeros(number, np.int16), pa.table({"metadata_age": range(number)})
    )


@pytest.mark.parametrize(
    ("shard_size", "groups"), [(1_024, [1_024, 476]), (400, [800, 700]), (1_500, [1_500])]
)
def test_a_row_group_holds_whole_shards(tmp_path: Path, shard_size: int, groups: list[int]) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, make_records(1_500), shard_size)
    found = pq.ParquetFile(path).metadata
    assert [found.row_group(group).num_rows for group in range(found.num_row_groups)] == groups


@pytest.mark.parametrize("shard_size", [100, 1_000])
def test_it_is_written_in_parts_as_if_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_size: int
) -> None:
    path, records = tmp_path / "manifest.parquet", make_records(4_500)
    monkeypatch.setattr(manifest, "_ROWS_AT_ONCE", 2_100)
    write_manifest(path, records, shard_size)
    assert pq.read_table(path).equals(records_to_table(records))
    found = pq.ParquetFile(path).metadata
    groups = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
    assert groups == [1_000, 1_000, 1_000, 1_000, 500]


@pytest.mark.parametrize("group_rows", [1, 2, 3, 100])
def test_any_rows_are_read_however_the_row_groups_are_cut(tmp_path: Path, group_rows: int) -> None:
    path = tmp_path / "manifest.parquet"
    pq.write_table(records_to_table(make_records(7)), path, row_group_size=group_rows)
    opened = Manifest(path)
    for start in range(7):
        for stop in range(start + 1, 8):
            ages = opened.read(range(start, stop), ["metadata_age"]).to_pydict()
            assert ages == {"metadata_age": list(range(start, stop))}


def test_a_manifest_of_too_few_records_is_refused(run_dir: Run) -> None:
    larger = replace(run_dir, num_records=6)
    with pytest.raises(RunError, match=r"manifest\.parquet: cannot be read: it has 5 records, 6 are wanted"):
        larger.shard_records(2)


def test_it_is_opened_once_for_all_tasks_and_anew_when_it_was_replaced(
    run_dir: Run, five_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Counted(Manifest):
        def __init__(self, path: Path):
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(manifest, "Manifest", Counted)
    for shard in (0, 1, 2, 0):
        replace(run_dir).shard_records(shard)
    assert opened == [run_dir.manifest_path]
    moved = replace(five_records, image_paths=["/new/place"] * 5)
    write_manifest(run_dir.manifest_path, moved, run_dir.shard_size)
    assert run_dir.shard_records(1).image_paths == ["/new/place"] * 2
    assert len(opened) == 2


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(
    run_dir: Run, five_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        write_manifest(run_dir.manifest_path, five_records, 2)
    with reading_manifest(run_dir.manifest_path) as opened:
        assert opened.read(range(5))["image_id"].to_pylist() == list("abcde")
    assert [path.name for path in run_dir.dir.iterdir() if path.name.startswith(".")] == []
