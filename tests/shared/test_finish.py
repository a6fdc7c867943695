"""Table and index of a complete run, and where each row is read from."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_results import publish_all, publish_rows, redo, write_shard

from shared.errors import RequestError, RunError, ShardError, StorageError
from shared.finish import finish_run, is_current
from shared.index import write_index, write_merged
from shared.places import find_places
from shared.records import records_to_table
from shared.run import Run
from shared.shard_files import find_shard_files, sha256_of
from shared.table import build_table, read_digests


@pytest.fixture
def complete(run_dir: Run) -> Run:
    """The tiny run with its shards; c has failed."""
    publish_all(run_dir)
    return run_dir


def places_of(run: Run):
    return find_places(run, find_shard_files(run))


def test_an_unfinished_run_gets_neither_table_nor_index(run_dir: Run) -> None:
    publish_rows(run_dir, 0)
    publish_rows(run_dir, 2)
    assert finish_run(run_dir) is False
    assert not run_dir.table_path.exists() and not run_dir.index_path.exists()


def test_the_table_holds_everything_but_the_attributions(complete: Run) -> None:
    assert finish_run(complete)
    table = pq.read_table(complete.table_path)
    assert table.column_names == [
        "image_id", "label", "prediction", "probability_bkl", "probability_mel", "probability_nv",
        "logit_bkl", "logit_mel", "logit_nv", "target_0", "target_1", "target_2", "status", "error",
        "age", "sex",
    ]  # fmt: skip
    found = table.to_pydict()
    assert found["image_id"] == list("abcde")
    assert found["label"] == ["bkl", "mel", "nv", None, "bkl"]
    assert found["prediction"] == ["bkl", "mel", None, "bkl", "mel"]
    assert found["target_1"] == ["mel", "mel", None, "mel", "mel"]
    assert found["status"] == [0, 0, 1, 0, 0]
    assert found["error"] == ["", "", "no file", "", ""]
    assert found["age"] == [80.0, None, 5.0, 6.0, 7.0]
    np.testing.assert_allclose(found["logit_mel"][1], np.log(0.8), rtol=1e-6)
    assert table.schema.field("status").type == "int8"
    assert table.schema.field("probability_mel").type == "float"


def test_size_and_sha256_of_each_shard_are_in_table_and_index(complete: Run) -> None:
    finish_run(complete)
    names = [f"shards/00000/shard-00000000{number}.h5" for number in range(3)]
    wanted = {name: (os.stat(complete.dir / name).st_size, sha256_of(complete.dir / name)) for name in names}
    assert read_digests(complete) == wanted
    with h5py.File(complete.index_path) as index:
        stored = json.loads(index.attrs["shard_files"])
    assert {name: tuple(values) for name, values in stored.items()} == wanted


def test_a_finished_run_is_not_written_again_and_nothing_is_left_over(complete: Run) -> None:
    finish_run(complete)
    before = [path.stat().st_mtime_ns for path in (complete.table_path, complete.index_path)]
    assert finish_run(complete)
    assert [path.stat().st_mtime_ns for path in (complete.table_path, complete.index_path)] == before
    assert list(complete.building_dir.iterdir()) == []


@pytest.mark.parametrize("lost", ["table_path", "index_path"])
def test_what_is_lost_is_written_again(complete: Run, lost: str) -> None:
    finish_run(complete)
    getattr(complete, lost).unlink()
    assert finish_run(complete)
    assert getattr(complete, lost).exists()


def test_a_damaged_table_and_one_of_another_run_count_as_none(complete: Run) -> None:
    finish_run(complete)
    assert read_digests(replace(complete, run_id="another")) is None
    complete.table_path.write_bytes(complete.table_path.read_bytes()[:-100])
    assert read_digests(complete) is None
    finish_run(complete)
    assert len(pq.read_table(complete.table_path)) == 5


def test_a_table_of_a_newer_camshard_is_refused(complete: Run) -> None:
    table = build_table(places_of(complete))
    about = json.dumps({"schema": 2, "run_id": complete.run_id, "shards": {}})
    pq.write_table(table.replace_schema_metadata({"camshard": about}), complete.table_path)
    with pytest.raises(RunError, match=r"schema 2 is newer than this camshard reads \(1\)"):
        finish_run(complete)


def test_a_shard_of_a_newer_camshard_is_refused(complete: Run) -> None:
    with h5py.File(complete.shard_path(1), "a") as file:
        file.attrs["camshard_schema"] = 2
    with pytest.raises(ShardError, match=r"000000001\.h5: schema 2 is newer than this camshard reads \(1\)"):
        finish_run(complete)


def test_rows_that_were_done_again_are_read_from_the_newest_ok_file(complete: Run) -> None:
    finish_run(complete)
    redo(complete, 1, revision=1, rows=[0], failed=True, value=50)
    places = places_of(complete)
    assert places.read(["error"])["error"].tolist() == ["", "", "failed again", "", ""]
    redo(complete, 1, revision=2, rows=[0], failed=False, value=60)
    redo(complete, 1, revision=3, rows=[0], failed=True, value=70)
    places = places_of(complete)
    assert places.read(["status"])["status"].tolist() == [0, 0, 0, 0, 0]
    assert places.read(["cam__c2"])["cam__c2"][2, 0, 0, 0] == 60
    assert not is_current(read_digests(complete), find_shard_files(complete))
    assert finish_run(complete)
    assert pq.read_table(complete.table_path)["status"].to_pylist() == [0, 0, 0, 0, 0]
    with h5py.File(complete.index_path) as index:
        assert index["cam__c2"][2, 0, 0, 0] == 60
        assert index["cam__c2"][3, 0, 0, 7] == 3
        assert index["status"][...].tolist() == [0, 0, 0, 0, 0]


def test_a_row_that_is_ok_is_not_replaced_by_one_that_failed(complete: Run) -> None:
    redo(complete, 1, revision=1, rows=[1], failed=True, value=50)
    places = places_of(complete)
    assert places.read(["status"])["status"].tolist() == [0, 0, 1, 0, 0]
    assert places.read(["cam__c2"])["cam__c2"][3, 0, 0, 7] == 3


def test_records_of_shards_that_are_not_there_are_left_out(complete: Run) -> None:
    complete.shard_path(1).unlink()
    places = places_of(complete)
    assert places.records.tolist() == [0, 1, 4]
    table = build_table(places).to_pydict()
    assert table["image_id"] == ["a", "b", "e"]
    assert table["age"] == [80.0, None, 7.0]


def test_what_was_asked_for_comes_file_by_file_with_its_place_in_the_question(complete: Run) -> None:
    parts = list(places_of(complete).parts(np.array([4, 0, 3, 1])))
    assert [part.file.shard for part in parts] == [0, 1, 2]
    assert [part.positions.tolist() for part in parts] == [[1, 3], [2], [0]]
    assert [part.rows.tolist() for part in parts] == [[0, 1], [1], [0]]


def test_a_shard_made_anew_of_the_same_size_is_read_anew(complete: Run) -> None:
    finish_run(complete)
    before = read_digests(complete)
    complete.shard_path(0).unlink()
    write_shard(complete, 0, complete.shard_records(0), np.array([1, 2]), np.array([False, False]))
    assert complete.shard_path(0).stat().st_size == before["shards/00000/shard-000000000.h5"][0]
    finish_run(complete)
    assert read_digests(complete)["shards/00000/shard-000000000.h5"][1] == sha256_of(complete.shard_path(0))
    assert pq.read_table(complete.table_path)["prediction"].to_pylist()[:2] == ["mel", "nv"]


@pytest.mark.parametrize("names", [["status", "metadata_status"], ["metadata_status", "status"]])
def test_no_metadata_column_is_lost_to_the_name_of_another(complete: Run, names: list[str]) -> None:
    records = complete.records()
    metadata = {f"metadata_{name}": [f"{name} of {one}" for one in "abcde"] for name in names}
    altered = records_to_table(replace(records, metadata=pa.table(metadata)))
    pq.write_table(altered, complete.manifest_path, row_group_size=2)
    finish_run(complete)
    table = pq.read_table(complete.table_path)
    texts = [column.to_pylist()[0] for column in table.columns]
    assert all(texts.count(f"{name} of a") == 1 for name in names)
    with h5py.File(complete.index_path) as index:
        stored = [index[name].asstr()[0] for name in index if name.startswith("metadata_")]
    assert sorted(stored) == sorted(f"{name} of a" for name in names)


def test_a_run_of_which_another_name_stands_for_a_shard_is_not_complete(complete: Run) -> None:
    complete.shard_path(1).rename(complete.shard_path(7))
    assert finish_run(complete) is False
    assert not complete.table_path.exists()


def test_the_table_is_written_where_the_index_cannot_be(complete: Run, monkeypatch) -> None:
    monkeypatch.setattr("shared.finish.write_index", lambda *_: (_ for _ in ()).throw(ValueError("no room")))
    with pytest.raises(StorageError, match=r"index\.h5: writing failed: no room"):
        finish_run(complete)
    assert len(pq.read_table(complete.table_path)) == 5


def test_more_metadata_than_an_index_holds_is_left_out_of_it(complete: Run, monkeypatch) -> None:
    monkeypatch.setattr("shared.index.MOST_METADATA", 1)
    finish_run(complete)
    with h5py.File(complete.index_path) as index:
        assert [name for name in index if name.startswith("metadata_")] == ["metadata_age"]
    assert {"age", "sex"} <= set(pq.read_schema(complete.table_path).names)


def test_a_link_that_leads_nowhere_is_no_shard(complete: Run) -> None:
    complete.shard_path(1).unlink()
    complete.shard_path(1).symlink_to("/nowhere")
    assert [one.shard for one in find_shard_files(complete)] == [0, 2]


def test_what_is_merged_is_copied_in_blocks(complete: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("shared.index._BLOCK_BYTES", 1)
    write_merged(tmp_path / "merged.h5", places_of(complete))
    with h5py.File(tmp_path / "merged.h5") as merged:
        np.testing.assert_array_equal(merged["cam__c2"][:, 0, 0, 7], [0, 1, np.nan, 3, 4])


def test_the_index_moves_with_its_run(complete: Run, tmp_path: Path) -> None:
    finish_run(complete)
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(complete.dir, moved)
    shutil.rmtree(complete.dir)
    code = "import h5py, sys; print(h5py.File(sys.argv[1])['cam__c2'][:, 0, 0, 7].tolist())"
    command = [sys.executable, "-c", code, str(moved / "index.h5")]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "[0.0, 1.0, nan, 3.0, 4.0]\n"


READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, xarray
found = xarray.open_dataset(sys.argv[1], engine=sys.argv[2])
np.savez(sys.argv[3], **{name: np.asarray(found[name].values) for name in found.variables})
print(json.dumps({name: [*found[name].dims, str(found[name].dtype)] for name in found.variables}))
"""


@pytest.mark.parametrize("what", ["index", "merged", "shard"])
def test_xarray_reads_the_same_through_both_engines_as_h5py(complete: Run, tmp_path: Path, what: str) -> None:
    pytest.importorskip("netCDF4")
    finish_run(complete)
    merged = tmp_path / "merged.h5"
    write_merged(merged, places_of(complete))
    path = {"index": complete.index_path, "merged": merged, "shard": complete.shard_path(0)}[what]
    outputs = []
    for engine in ("h5netcdf", "netcdf4"):
        command = [sys.executable, "-c", READ, str(path), engine, str(tmp_path / engine)]
        outputs.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert outputs[0] == outputs[1]
    kinds = json.loads(outputs[0])
    assert kinds["cam__c2"] == ["image_id", "target_rank", "y_c2", "x_c2", "float32"]
    assert kinds["prediction"] == ["image_id", "int16"]
    assert kinds["status"] == ["image_id", "int8"]
    for engine in ("h5netcdf", "netcdf4"):
        with np.load(tmp_path / f"{engine}.npz", allow_pickle=True) as found, h5py.File(path) as file:
            assert set(found.files) == set(file)
            for name in file:
                is_text = h5py.check_string_dtype(file[name].dtype) is not None
                wanted = file[name].asstr()[...] if is_text else file[name][...]
                np.testing.assert_array_equal(found[name], wanted, name)
            assert all(isinstance(one, str) for name in ("image_id", "error") for one in found[name])


def test_the_merged_file_needs_no_other_and_equals_the_index(complete: Run, tmp_path: Path) -> None:
    finish_run(complete)
    merged = tmp_path / "merged.h5"
    write_merged(merged, places_of(complete))
    with h5py.File(complete.index_path) as index, h5py.File(merged) as file:
        assert set(file) == set(index)
        for name in index:
            np.testing.assert_array_equal(file[name][...], index[name][...], name)
            assert not file[name].is_virtual
        assert index["cam__c2"].is_virtual
        assert file["metadata_age"][0] == 80 and np.isnan(file["metadata_age"][1])
        assert file["metadata_sex"].asstr()[...].tolist() == list("fmfmf")


def test_an_index_of_too_many_files_is_refused(complete: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("shared.index.MOST_FILES", 2)
    monkeypatch.setattr("shared.finish.MOST_FILES", 2)
    with pytest.raises(RequestError, match="3 files are too many for an index"):
        write_index(tmp_path / "index.h5", places_of(complete), {})
    assert finish_run(complete)
    assert complete.table_path.exists() and not complete.index_path.exists()


FINISH = "import sys; from pathlib import Path; from shared.finish import finish_run; from shared.run import read_run; finish_run(read_run(Path(sys.argv[1])))"  # noqa: E501


def test_two_at_once_do_no_harm(complete: Run) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", FINISH, str(complete.dir)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert is_current(read_digests(complete), find_shard_files(complete))
    assert len(pq.read_table(complete.table_path)) == 5
    assert list(complete.building_dir.iterdir()) == []
