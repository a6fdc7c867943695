"""The run directory: run.json and the manifest, there and back, and read by others."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from shared.errors import CamshardError, RunError
from shared.publish import write_atomically
from shared.records import Records, records_from_table, records_to_table
from shared.run import Run, read_run


def test_a_written_run_is_read_back(run_dir: Run) -> None:
    assert read_run(run_dir.dir) == run_dir


def test_records_make_shards_and_the_last_is_shorter(tiny_run: Run) -> None:
    assert tiny_run.num_shards == 3
    assert [list(tiny_run.shard_rows(shard)) for shard in range(3)] == [[0, 1], [2, 3], [4]]
    assert replace(tiny_run, num_records=4).num_shards == 2


def test_shards_lie_in_a_folder_per_thousand(tiny_run: Run) -> None:
    shards = tiny_run.dir / "shards"
    assert tiny_run.shard_path(12) == shards / "00000" / "shard-000000012.h5"
    assert tiny_run.shard_path(12, 1) == shards / "00000" / "shard-000000012.r1.h5"
    assert tiny_run.shard_path(1_000) == shards / "00001" / "shard-000001000.h5"


def test_published_shards_are_found_without_revisions_and_claims(tiny_run: Run) -> None:
    assert tiny_run.published_shards() == set()
    for path in (
        tiny_run.shard_path(0),
        tiny_run.shard_path(2, 1),
        tiny_run.shard_path(7),
        tiny_run.shard_path(1_001),
        tiny_run.shard_path(0).with_name("shard-abcdefghi.h5"),
        tiny_run.shard_path(1).with_name(".shard-000000001.h5.claim"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert tiny_run.published_shards() == {0}
    big = replace(tiny_run, num_records=2_004)
    assert big.published_shards() == {0, 7, 1_001}
    assert not tiny_run.is_complete()


def test_a_shard_reads_its_own_records(run_dir: Run) -> None:
    records = run_dir.shard_records(1)
    assert records.image_ids == ["c", "d"]
    assert records.image_paths == [None, str(run_dir.images.dirs[0] / "d.jpg")]
    np.testing.assert_array_equal(records.labels, np.array([2, -1], np.int16))
    assert records.labels.dtype == np.int16
    assert records.metadata.to_pydict() == {"metadata_age": [5.0, 6.0], "metadata_sex": ["f", "m"]}
    assert run_dir.records().image_ids == run_dir.image_ids() == list("abcde")
    assert run_dir.shard_image_ids(1) == ["c", "d"]
    np.testing.assert_array_equal(run_dir.labels(), np.array([0, 1, 2, -1, 0], np.int16))


def test_pyarrow_reads_the_manifest(run_dir: Run) -> None:
    manifest = pq.ParquetFile(run_dir.manifest_path)
    assert [manifest.metadata.row_group(one).num_rows for one in range(3)] == [2, 2, 1]
    table = manifest.read()
    assert table.column_names == ["image_id", "image_path", "label", "metadata_age", "metadata_sex"]
    assert table["label"].to_pylist() == [0, 1, 2, -1, 0]
    assert table["metadata_age"].to_pylist() == [80.0, None, 5.0, 6.0, 7.0]


def test_multilabel_records_keep_their_matrix(five_records: Records) -> None:
    labels = np.array([[1, 0], [0, 0], [-1, -1], [1, 1], [0, 1]], np.int8)
    table = records_to_table(replace(five_records, labels=labels))
    assert table["label"].to_pylist()[3] == [1, 1]
    back = records_from_table(table.slice(1, 3)).labels
    np.testing.assert_array_equal(back, labels[1:4])
    assert back.dtype == np.int8


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run directory: run\.json: No such file"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"schema": 1}', '{"schema": "x"}', '{"schema": 1, "images": 3}']
)
def test_a_damaged_run_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json: damaged.*Move the file away and give the command"):
        read_run(tmp_path)


@pytest.mark.parametrize("damage", ["emptied", "cut", "overwritten", "removed"])
def test_a_damaged_manifest_is_refused_and_who_writes_it_anew_is_said(run_dir: Run, damage: str) -> None:
    data = run_dir.manifest_path.read_bytes()
    damaged = {"emptied": b"", "cut": data[:-9], "overwritten": data[:9] + bytes(200) + data[209:]}
    run_dir.manifest_path.unlink()
    if damage in damaged:
        run_dir.manifest_path.write_bytes(damaged[damage])
    for read in (run_dir.records, lambda: run_dir.shard_records(0)):
        with pytest.raises(CamshardError, match=r"\.parquet: (cannot be read: .*anew|reading failed)"):
            read()


def test_a_run_of_a_newer_camshard_is_refused(run_dir: Run) -> None:
    document: dict[str, Any] = json.loads((run_dir.dir / "run.json").read_text())
    (run_dir.dir / "run.json").write_text(json.dumps(document | {"schema": 2}))
    with pytest.raises(RunError, match=r"schema 2 is newer .* Upgrade camshard"):
        read_run(run_dir.dir)


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]
