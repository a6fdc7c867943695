"""Shards that are damaged, foreign or gone, each in a way of its own."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_up_results import publish_rows, redo
from run_damage import SHARD, chunk_offset, edit, flip, found_in, repair_and_finish, what

from camshard.verify.finding import Kind
from camshard.verify.run import verify_run
from shared.finish import finish_run
from shared.run import Run


def test_a_removed_shard_is_named_and_can_be_made_again(finished: Run) -> None:
    finished.shard_path(1).unlink()
    assert found_in(finished) == [("gone", SHARD)]
    repaired = repair_and_finish(finished, [1])
    assert {one.path for one in repaired.findings if one.moved_to} == {"table.parquet", "index.h5"}


@pytest.mark.parametrize("when", ["before the table", "after it"])
def test_a_truncated_shard_is_found_and_set_aside(results_dir: Run, when: str) -> None:
    if when == "after it":
        finish_run(results_dir)
    path = results_dir.shard_path(1)
    path.write_bytes(path.read_bytes()[:-1000])
    rest = path.read_bytes()
    assert found_in(results_dir) == [("damaged", SHARD)]
    repaired = repair_and_finish(results_dir, [1])
    (moved,) = [one.moved_to for one in repaired.findings if one.path == SHARD]
    assert moved is not None and moved.startswith("damaged/") and moved.endswith(SHARD)
    assert (results_dir.dir / moved).read_bytes() == rest


@pytest.mark.parametrize("name", ["cam__c2", "probability", "label", "prediction", "target", "status"])
def test_a_flipped_byte_in_numbers_is_found_by_their_checksums(results_dir: Run, name: str) -> None:
    path = results_dir.shard_path(1)
    flip(path, chunk_offset(path, name))
    assert found_in(results_dir) == [("damaged", SHARD)]
    assert f"variable {name} cannot be read" in what(results_dir)
    repair_and_finish(results_dir, [1])


def test_a_flipped_byte_in_ids_class_names_and_axes_is_found_by_comparing(results_dir: Run) -> None:
    path = results_dir.shard_path(1)
    whole = path.read_bytes()
    (offset,) = [at for at in range(len(whole)) if whole[at : at + 3] == b"bkl"]
    flip(path, offset)
    assert what(results_dir) == "axis class_name has other values than the run's"
    path.write_bytes(whole)
    with h5py.File(path) as file:
        offset = file["x_c2"].id.get_offset()
    flip(path, offset + 3)
    assert what(results_dir) == "axis x_c2 has other values than the run's"


def test_the_text_of_an_error_and_titles_are_covered_by_the_recorded_sha256_alone(results_dir: Run) -> None:
    path = results_dir.shard_path(1)
    whole = path.read_bytes()
    for text in (b"no file", b"what became of the row"):
        flip(path, whole.index(text))
        assert found_in(results_dir) == [], "nothing knows better"
        path.write_bytes(whole)
    finish_run(results_dir)
    for text in (b"no file", b"what became of the row"):
        flip(path, whole.index(text))
        assert what(results_dir) == "its SHA-256 is not the recorded one"
        path.write_bytes(whole)
    assert verify_run(results_dir.dir).findings == ()


def test_after_the_table_every_byte_counts(finished: Run) -> None:
    path = finished.shard_path(1)
    whole = path.read_bytes()
    for offset in (0, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        flip(path, offset)
        assert found_in(finished) == [("damaged", SHARD)]
        path.write_bytes(whole)
    path.write_bytes(whole + b"\0")
    assert what(finished) == f"it has {len(whole) + 1} bytes, and {len(whole)} are recorded"


def test_a_shard_of_another_run_is_foreign(results_dir: Run, tmp_path: Path) -> None:
    other = replace(results_dir, dir=tmp_path / "other", run_id="ffffffffffff")
    shutil.copytree(results_dir.dir, other.dir)
    other.shard_path(1).unlink()
    publish_rows(other, 1)
    shutil.copy(other.shard_path(1), results_dir.shard_path(1))
    assert found_in(results_dir) == [("foreign", SHARD)]
    assert what(results_dir) == "its run_id is ffffffffffff, and 0123456789ab belongs here"
    repair_and_finish(results_dir, [1])


def test_a_shard_under_another_number_is_foreign(results_dir: Run) -> None:
    shutil.copy(results_dir.shard_path(0), results_dir.shard_path(1))
    assert found_in(results_dir) == [("foreign", SHARD)]
    assert what(results_dir) == "its shard is 0, and 1 belongs here"
    repair_and_finish(results_dir, [1])


def test_a_shard_under_a_revisions_name_is_foreign(results_dir: Run) -> None:
    shutil.copy(results_dir.shard_path(1), results_dir.shard_path(1, 1))
    assert what(results_dir) == "its revision is 0, and 1 belongs here"


def test_a_replaced_id_is_found(results_dir: Run) -> None:
    edit(results_dir.shard_path(1), lambda file: file["image_id"].__setitem__(1, "z"))
    assert what(results_dir) == "row 1 is image 'z', and in the manifest it is 'd'"
    repair_and_finish(results_dir, [1])


def test_a_replaced_id_is_found_when_the_table_was_made_from_it(results_dir: Run) -> None:
    edit(results_dir.shard_path(1), lambda file: file["image_id"].__setitem__(1, "z"))
    finish_run(results_dir)
    assert found_in(results_dir) == [("damaged", SHARD)]
    repair_and_finish(results_dir, [1])


@pytest.mark.parametrize(
    ("ids", "text"), [(["z"], "image 'z' is none of its shard"), (["d", "d"], "an image comes twice")]
)
def test_a_revision_with_ids_that_are_not_its_shards_is_found(
    results_dir: Run, ids: list[str], text: str
) -> None:
    redo(results_dir, 1, 1, list(range(len(ids))), failed=False, value=9)
    edit(results_dir.shard_path(1, 1), lambda file: file["image_id"].__setitem__(slice(None), ids))
    assert found_in(results_dir) == [("damaged", "shards/00000/shard-000000001.r1.h5")]
    assert what(results_dir) == text
    repair_and_finish(results_dir, [])


def test_a_revision_that_is_gone_is_named(finished: Run) -> None:
    redo(finished, 1, 1, [0], failed=False, value=9)
    finish_run(finished)
    finished.shard_path(1, 1).unlink()
    assert found_in(finished) == [("gone", "shards/00000/shard-000000001.r1.h5")]
    repair_and_finish(finished, [])


def _replace_status(file: h5py.File) -> None:
    file["status"][0] = 77


def _drop_variable(file: h5py.File) -> None:
    del file["gradcam__c2"]


def _other_dtype(file: h5py.File) -> None:
    del file["probability"]
    file["probability"] = np.zeros((2, 3), np.float64)


def _fewer_bits(file: h5py.File) -> None:
    fifteen_bits = h5py.h5t.STD_I16LE.copy()
    fifteen_bits.set_precision(15)
    del file["label"]
    h5py.h5d.create(file.id, b"label", fifteen_bits, h5py.h5s.create_simple((2,)))


def _far_too_large(file: h5py.File) -> None:
    del file["cam__c2"]
    file.create_dataset("cam__c2", (1 << 40, 3, 8, 8), np.float32, chunks=(1, 3, 8, 8))


def _without_data(file: h5py.File) -> None:
    attributes = dict(file["cam__c2"].attrs)
    del file["cam__c2"]
    shape = (2, 3, 8, 8)
    made = file.create_dataset("cam__c2", shape, np.float32, chunks=(1, 3, 8, 8), fletcher32=True)
    for position, name in enumerate(("image_id", "target_rank", "y_c2", "x_c2")):
        made.dims[position].attach_scale(file[name])
    assert attributes["method"] == "cam"


def _linked_elsewhere(file: h5py.File) -> None:
    del file["error"]
    file["error"] = h5py.ExternalLink("shard-000000000.h5", "/error")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_replace_status, "status 77 is none of 0 to 5"),
        (_drop_variable, "variable gradcam__c2 is not there"),
        (_other_dtype, "variable probability is float64, float32 is right"),
        (_fewer_bits, "variable label writes its numbers or texts in another way"),
        (_far_too_large, "variable cam__c2 has the shape (1099511627776, 3, 8, 8), (2, 3, 8, 8) is right"),
        (_without_data, "variable cam__c2 lacks some of its data"),
        (_linked_elsewhere, "variable error is not there"),
        (
            lambda file: file.attrs.__setitem__("rows_failed", 2),
            "its rows_failed is 2, and 1 rows",
        ),
        (lambda file: file["cam__c2"].dims[3].detach_scale(file["x_c2"]), "variable cam__c2 has the axes"),
    ],
)
def test_a_shard_that_is_not_as_its_layout_says_is_damaged(
    results_dir: Run, change: Callable[[h5py.File], None], text: str
) -> None:
    edit(results_dir.shard_path(1), change)
    assert what(results_dir).startswith(text)
    assert found_in(results_dir) == [("damaged", SHARD)]


def test_a_shard_of_a_newer_camshard_stays_where_it_is(results_dir: Run) -> None:
    edit(results_dir.shard_path(1), lambda file: file.attrs.__setitem__("camshard_schema", 99))
    found = verify_run(results_dir.dir, repair=True)
    assert [(one.kind, one.moved_to) for one in found.damage] == [(Kind.UNCHECKED, None)]
    assert results_dir.shard_path(1).exists()
