"""Damage to what stands beside the shards: table, index, manifest and run.json."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_damage import (
    SHARD,
    chunk_offset,
    edit,
    files_below,
    flip,
    found_in,
    truncate,
    what,
)

from camshard.verify.finding import Kind
from camshard.verify.run import verify_run
from shared.errors import RunError
from shared.run import Run, run_to_dict
from shared.shard_files import sha256_of


def _other_id(path: Path) -> None:
    table = pq.read_table(path)
    image_ids = [*table["image_id"].to_pylist()[:-1], "z"]
    place = table.schema.get_field_index("image_id")
    table = table.set_column(place, "image_id", pa.array(image_ids)).replace_schema_metadata(
        table.schema.metadata
    )
    pq.write_table(table, path, row_group_size=2)


def _fewer_rows(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(0, 4), path, row_group_size=2)


def _of_another_run(path: Path) -> None:
    table = pq.read_table(path)
    about = table.schema.metadata[b"camshard"].replace(b"0123456789ab", b"ffffffffffff")
    pq.write_table(table.replace_schema_metadata({b"camshard": about}), path)


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (truncate, "damaged", "it cannot be read"),
        (_other_id, "damaged", "its image ids are not the manifest's, first in shard 2"),
        (_fewer_rows, "damaged", "its image ids are not the manifest's, first in shard 2"),
        (_of_another_run, "foreign", "it is of another run"),
    ],
)
def test_a_damaged_table_is_set_aside_and_written_anew(
    finished: Run, damage: Callable[[Path], None], kind: str, text: str
) -> None:
    damage(finished.table_path)
    assert found_in(finished) == [(kind, "table.parquet")]
    assert what(finished).startswith(text)
    repaired = verify_run(finished.dir, repair=True)
    assert "table.parquet" in repaired.written
    assert verify_run(finished.dir).findings == ()


def test_a_flipped_byte_in_a_table_with_checksums_is_found(finished: Run) -> None:
    table = pq.read_table(finished.table_path)
    pq.write_table(table, finished.table_path, write_page_checksum=True, compression="none")
    flip(finished.table_path, finished.table_path.read_bytes().index(b"no file"))
    assert found_in(finished) == [("damaged", "table.parquet")]


def test_of_two_records_that_differ_the_file_tells_the_right_one(finished: Run) -> None:
    table = pq.read_table(finished.table_path)
    digest = sha256_of(finished.shard_path(1)).encode()
    about = table.schema.metadata[b"camshard"].replace(digest, b"0" * 64)
    pq.write_table(table.replace_schema_metadata({b"camshard": about}), finished.table_path)
    assert found_in(finished) == [("damaged", "table.parquet")]
    finished.index_path.unlink()
    assert found_in(finished) == [("damaged", SHARD)], "now nothing says otherwise"


def _drop_image_id(path: Path) -> None:
    edit(path, lambda file: file["image_id"].__setitem__(4, "z"))


def _other_source(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        shape, scales = file["cam__c2"].shape, [dim[0] for dim in file["cam__c2"].dims]
        del file["cam__c2"]
        view = h5py.VirtualLayout(shape, np.float32)
        view[:2] = h5py.VirtualSource("../elsewhere.h5", "cam__c2", (2, *shape[1:]))
        made = file.create_virtual_dataset("cam__c2", view)
        for position, scale in enumerate(scales):
            made.dims[position].attach_scale(scale)


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (truncate, "damaged", "it cannot be read"),
        (lambda path: flip(path, chunk_offset(path, "logit")), "damaged", "variable logit cannot be read"),
        (_drop_image_id, "damaged", "row 4 is image 'z', and in the manifest it is 'e'"),
        (
            _other_source,
            "damaged",
            "variable cam__c2 shows ../elsewhere.h5, which is none of",
        ),
        (
            lambda path: edit(path, lambda file: file.attrs.__setitem__("run_id", "ffffffffffff")),
            "foreign",
            "its run_id is ffffffffffff",
        ),
    ],
)
def test_a_damaged_index_is_set_aside_and_written_anew(
    finished: Run, damage: Callable[[Path], None], kind: str, text: str
) -> None:
    damage(finished.index_path)
    assert found_in(finished) == [(kind, "index.h5")]
    assert what(finished).startswith(text)
    repaired = verify_run(finished.dir, repair=True)
    assert "index.h5" in repaired.written
    assert verify_run(finished.dir).findings == ()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (Path.unlink, "it cannot be read"),
        (truncate, "it cannot be read"),
        (_fewer_rows, "it has 4 records, and run.json 5"),
    ],
)
def test_a_damaged_manifest_is_said_and_stays(
    finished: Run, damage: Callable[[Path], None], text: str
) -> None:
    damage(finished.manifest_path)
    before = files_below(finished.dir)
    found = verify_run(finished.dir, repair=True)
    (finding,) = found.damage
    assert (finding.kind, finding.path, finding.moved_to) == (Kind.DAMAGED, "manifest.parquet", None)
    assert finding.what.startswith(text)
    assert "Move it and run.json away and give the command that began the run again" in finding.what
    assert files_below(finished.dir) == before


def test_a_manifest_with_another_id_than_shard_and_table_is_to_blame(finished: Run) -> None:
    _other_id(finished.manifest_path)
    assert found_in(finished) == [("damaged", "manifest.parquet")]
    verify_run(finished.dir, repair=True)
    assert finished.published_shards() == {0, 1, 2}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda text: text[:-10], "run.json: damaged"),
        (lambda text: text.replace('"records": 5', '"records": -5'), "-5 records in shards of 2"),
        (
            lambda text: text.replace('"attributions": [["cam"', '"attributions": [["cxm"'),
            "describes no shard",
        ),
    ],
)
def test_a_damaged_run_json_is_said(results_dir: Run, change: Callable[[str], str], text: str) -> None:
    path = results_dir.dir / "run.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(RunError, match=text):
        verify_run(results_dir.dir, repair=True)


def test_all_shards_of_one_other_run_put_the_blame_on_run_json(results_dir: Run) -> None:
    document = run_to_dict(replace(results_dir, run_id="ffffffffffff"))
    (results_dir.dir / "run.json").write_text(json.dumps(document))
    assert found_in(results_dir) == [("damaged", "run.json")]
    repaired = verify_run(results_dir.dir, repair=True)
    assert [one.moved_to for one in repaired.findings if one.moved_to] == []
    assert results_dir.published_shards() == {0, 1, 2}
