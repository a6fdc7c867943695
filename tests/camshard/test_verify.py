import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_results import publish_rows, redo

import camshard.verify.readers
from camshard.results import open_run
from camshard.verify.file_check import FileRequest
from camshard.verify.finding import Kind, Verification
from camshard.verify.readers import Reader
from camshard.verify.run import verify_run
from shared.errors import IncompleteRunError, RunError
from shared.finish import finish_run
from shared.run import Run, read_run, run_to_dict
from shared.shard_files import sha256_of

SHARD = "shards/00000/shard-000000001.h5"


@pytest.fixture
def finished(results_dir: Run) -> Run:
    """The tiny run with table and index."""
    finish_run(results_dir)
    return results_dir


def found_in(run: Run) -> list[tuple[str, str]]:
    """Verify; return kinds and paths of what is damage."""
    return [(one.kind.value, one.path) for one in verify_run(run.dir).damage]


def what(run: Run) -> str:
    """Verify; return what is said of the only damage."""
    (only,) = verify_run(run.dir).damage
    return only.what


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x08
    path.write_bytes(content)


def chunk_offset(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        return int(file[name].id.get_chunk_info(0).byte_offset)


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def files_below(folder: Path) -> list[str]:
    return sorted(sha256_of(path) for path in folder.rglob("*") if path.is_file() and path.name != "why.json")


def repair_and_finish(run: Run, shards: list[int]) -> Verification:
    """Repair, see that just these shards are missing, make them again, and verify."""
    repaired = verify_run(run.dir, repair=True)
    assert repaired.exit_code == 1, "damage was found"
    assert verify_run(run.dir).exit_code == (4 if shards else 0)
    if shards:
        with pytest.raises(IncompleteRunError, match=run.shard_path(shards[0]).name):
            open_run(run.dir)
    for shard in shards:
        publish_rows(run, shard)
    assert finish_run(run)
    after = verify_run(run.dir)
    assert (after.findings, after.exit_code) == ((), 0)
    assert len(open_run(run.dir).table) == run.num_records
    return repaired


def test_a_finished_run_is_clean(finished: Run) -> None:
    redo(finished, 1, 1, [0], failed=False, value=9)
    finish_run(finished)
    seen: list[tuple[int, int]] = []
    found = verify_run(finished.dir, on_progress=lambda done, total: seen.append((done, total)))
    sizes = sum(path.stat().st_size for path in (finished.dir / "shards").rglob("*.h5"))
    assert (found.findings, found.exit_code, found.shard_files, found.num_bytes) == ((), 0, 4, sizes)
    assert seen[-1] == (sizes, sizes)


def test_several_processes_read_a_large_run(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camshard.verify.readers, "_BYTES_A_READER", 1)
    flip(finished.shard_path(1), 5000)
    assert found_in(finished) == [("damaged", SHARD)]


def test_verifying_alone_changes_nothing(finished: Run) -> None:
    finished.shard_path(1).unlink()
    (finished.dir / "shards" / "note").touch()
    before = {path: path.stat().st_mtime_ns for path in finished.dir.rglob("*")}
    verify_run(finished.dir)
    assert {path: path.stat().st_mtime_ns for path in finished.dir.rglob("*")} == before


def test_an_unfinished_run_is_not_damaged(run_dir: Run) -> None:
    found = verify_run(run_dir.dir)
    (missing,) = found.findings
    assert (found.exit_code, missing.kind) == (4, Kind.MISSING)
    assert missing.path == "shards/00000/shard-000000000.h5"
    assert missing.what == "shards 0 to 2 are not made yet"


def test_shards_that_are_missing_before_there_is_a_table_are_named(results_dir: Run) -> None:
    results_dir.shard_path(1).unlink()
    found = verify_run(results_dir.dir)
    assert [(one.kind, one.path) for one in found.findings] == [(Kind.MISSING, SHARD)]
    assert found.exit_code == 4


def test_table_and_index_of_a_complete_run_are_written_by_repair(results_dir: Run) -> None:
    found = verify_run(results_dir.dir)
    assert [(one.kind, one.path) for one in found.findings] == [
        (Kind.OUTDATED, "table.parquet"), (Kind.OUTDATED, "index.h5"),
    ]  # fmt: skip
    assert found.exit_code == 0
    repaired = verify_run(results_dir.dir, repair=True)
    assert (repaired.written, repaired.exit_code) == (("table.parquet", "index.h5"), 0)
    assert verify_run(results_dir.dir).findings == ()
    assert not (results_dir.dir / "damaged").exists()


def test_table_and_index_that_lack_rows_done_again_are_outdated(finished: Run) -> None:
    redo(finished, 1, 1, [0], failed=False, value=9)
    found = verify_run(finished.dir)
    assert {(one.kind, one.path) for one in found.findings} == {
        (Kind.OUTDATED, "table.parquet"), (Kind.OUTDATED, "index.h5"),
    }  # fmt: skip
    verify_run(finished.dir, repair=True)
    assert verify_run(finished.dir).findings == ()


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


def test_all_shards_of_one_other_run_put_the_blame_on_run_json(results_dir: Run) -> None:
    document = run_to_dict(replace(results_dir, run_id="ffffffffffff"))
    (results_dir.dir / "run.json").write_text(json.dumps(document))
    assert found_in(results_dir) == [("damaged", "run.json")]
    repaired = verify_run(results_dir.dir, repair=True)
    assert [one.moved_to for one in repaired.findings if one.moved_to] == []
    assert results_dir.published_shards() == {0, 1, 2}


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


@pytest.mark.parametrize(
    "name",
    [
        "note.txt", "00000/note.txt", "00000/shard-000000001.h5.tmp", "00000/shard-000000003.h5",
        "00001/shard-000000001.h5", "00000/shard-1.h5", "00000/.shard-000000001.h5.claim0",
    ],
)  # fmt: skip
def test_what_does_not_belong_into_the_shards_folder_is_stray(results_dir: Run, name: str) -> None:
    path = results_dir.dir / "shards" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"something")
    os.utime(path, (time.time() - 100,) * 2)
    assert found_in(results_dir) == [("stray", f"shards/{name}")]
    repair_and_finish(results_dir, [])


def test_folders_and_dead_links_named_like_shards_are_stray(run_dir: Run) -> None:
    run_dir.shard_path(0).mkdir(parents=True)
    run_dir.shard_path(1).symlink_to("nowhere")
    verify_run(run_dir.dir, repair=True)
    found = verify_run(run_dir.dir)
    assert (found.exit_code, found.findings[0].what) == (4, "shards 0 to 2 are not made yet")


def test_a_claim_of_a_process_at_work_is_no_damage(results_dir: Run) -> None:
    (results_dir.shard_path(0).parent / ".shard-000000001.h5.claim0").touch()
    assert found_in(results_dir) == []


def test_what_processes_that_are_gone_left_half_built_is_found(results_dir: Run) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    host, day = socket.gethostname(), 24 * 3600
    ages = {
        f"shard-000000001.{host}-{dead.pid}-0a1b2c3d.h5": 0,
        f"shard-000000001.{host}-{os.getpid()}-0a1b2c3d.h5": 2 * day,
        "shard-000000001.elsewhere-1-0a1b2c3d.h5": 2 * day,
        "table.elsewhere-2-0a1b2c3d.parquet": 0,
        "junk": 0,
    }
    results_dir.building_dir.mkdir(parents=True, exist_ok=True)
    for name, age_s in ages.items():
        path = results_dir.building_dir / name
        path.write_text(name)
        os.utime(path, (time.time() - age_s,) * 2)
    assert {(kind, Path(path).name) for kind, path in found_in(results_dir)} == {
        ("partial", f"shard-000000001.{host}-{dead.pid}-0a1b2c3d.h5"),
        ("partial", "shard-000000001.elsewhere-1-0a1b2c3d.h5"),
        ("stray", "junk"),
    }
    repair_and_finish(results_dir, [])
    assert len(list(results_dir.building_dir.iterdir())) == 2


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


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
        (_truncate, "damaged", "it cannot be read"),
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
        (_truncate, "damaged", "it cannot be read"),
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
        (_truncate, "it cannot be read"),
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


def test_repair_loses_no_bytes_and_overwrites_nothing(finished: Run) -> None:
    for round_number in (1, 2):
        _truncate(finished.shard_path(1))
        (finished.dir / "shards" / "note").write_text(f"round {round_number}")
        (finished.dir / "table.parquet").write_text(f"round {round_number}")
        before = files_below(finished.dir)
        repaired = verify_run(finished.dir, repair=True)
        assert files_below(finished.dir) == before
        publish_rows(finished, 1)
        finish_run(finished)
    folders = sorted((finished.dir / "damaged").iterdir())
    assert [(folder / "shards" / "note").read_text() for folder in folders] == ["round 1", "round 2"]
    why = json.loads((folders[-1] / "why.json").read_text())
    assert {one["path"]: one["what"] for one in why} == {
        one.path: one.what for one in repaired.findings if one.moved_to
    }


def test_a_moved_run_is_clean(finished: Run, tmp_path: Path) -> None:
    shutil.move(finished.dir, tmp_path / "moved")
    assert verify_run(tmp_path / "moved").findings == ()


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (signal.SIGSEGV, Kind.DAMAGED, "HDF5 crashes on it"),
        (signal.SIGABRT, Kind.DAMAGED, "HDF5 crashes on it"),
        (signal.SIGXCPU, Kind.DAMAGED, "reading it does not end"),
        (signal.SIGKILL, Kind.UNCHECKED, "was ended by signal 9"),
    ],
)
def test_a_file_that_ends_the_process_that_reads_it_ends_no_other(number: int, kind: Kind, text: str) -> None:
    reader = Reader([sys.executable, "-c", f"import os; input(); os.kill(os.getpid(), {int(number)})"])
    for _ in range(2):
        problem = reader.check(FileRequest(0, 0, 1, None)).problem
        assert problem is not None
        assert problem[0] == kind
        assert text in problem[1]
    reader.close()


def command(run_dir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-P", "-m", "camshard", "verify", str(run_dir), *flags]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_prints_a_line_a_finding_and_a_verdict(finished: Run) -> None:
    clean = command(finished.dir)
    assert (clean.returncode, clean.stderr) == (0, "")
    assert clean.stdout.startswith("3 shard files (") and clean.stdout.endswith(" s: no damage\n")
    _truncate(finished.shard_path(1))
    (finished.dir / "shards" / "note").touch()
    size = finished.shard_path(1).stat().st_size
    done = command(finished.dir)
    *lines, last = done.stdout.splitlines()
    assert lines == [
        f"damaged    {SHARD}: it has {size} bytes, and {size + 100} are recorded",
        "stray      shards/note: only folders belong here",
    ]
    assert last.endswith(f"`camshard verify {finished.dir} --repair` sets such files aside and deletes none")
    assert done.returncode == 1


def test_the_exit_code_after_a_repair_is_that_of_what_is_left(finished: Run) -> None:
    _truncate(finished.shard_path(1))
    repaired = command(finished.dir, "--repair")
    assert repaired.returncode == 1
    assert "; set aside\n" in repaired.stdout
    assert repaired.stdout.endswith("; the command that began the run makes the missing shards\n")
    left = command(finished.dir)
    assert left.returncode == 4
    assert left.stdout.splitlines()[0] == f"missing    {SHARD}: the shard is not made yet"
    assert left.stdout.endswith(": no damage, but unfinished\n")


def test_json_is_one_object(finished: Run) -> None:
    finished.shard_path(1).unlink()
    done = command(finished.dir, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["damaged"]) == (1, 1, True)
    assert [(one["kind"], one["path"]) for one in document["findings"]] == [("gone", SHARD)]
    assert (document["run_id"], document["shard_files"]) == (read_run(finished.dir).run_id, 2)


def test_no_run_is_said_in_one_line(tmp_path: Path) -> None:
    done = command(tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no run directory" in done.stderr
