"""The run directory of a plan: written, found again, and refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tiny_plans import ROWS, MakePlan

from producer.run_directory import check_run_dir, write_run_dir
from shared.errors import RunError
from shared.run import Run, read_run
from shared.shard import Rows, ShardWriter, Timings
from shared.status import Status


def test_a_run_directory_holds_the_plan(make_plan: MakePlan) -> None:
    plan = make_plan(shard_size=2)
    run = write_run_dir(plan)
    assert read_run(run.dir) == plan.run
    manifest = pq.ParquetFile(run.manifest_path)
    assert manifest.read(["metadata_age"]).to_pydict() == {"metadata_age": [80.0, None, 7.5, 60.0, 50.0]}
    assert sorted(os.listdir(run.dir)) == ["manifest.parquet", "model.toml", "run.json"]
    document = json.loads((run.dir / "run.json").read_text())
    assert document["counts"] == {"records": 5, "shards": 3}
    assert document["versions"]["python"].startswith("3.")


def test_the_same_command_again_finds_its_run(make_plan: MakePlan) -> None:
    first = write_run_dir(make_plan())
    manifest = first.manifest_path.stat()
    again = write_run_dir(replace(plan := make_plan(), run=replace(plan.run, created="later")))
    assert again == first
    assert first.manifest_path.stat().st_ino == manifest.st_ino, "nothing was written again"


def test_the_same_run_with_moved_images_takes_their_new_paths(make_plan: MakePlan, tmp_path: Path) -> None:
    first = write_run_dir(make_plan(out=tmp_path / "out"))
    moved = first.images.dirs[0].rename(tmp_path / "moved")
    again = write_run_dir(make_plan(out=tmp_path / "out", images=[moved]))
    assert (again.run_id, again.created) == (first.run_id, first.created)
    assert again.images.dirs == (moved,)
    assert again.records().image_paths[0] == str(moved / Path(str(first.records().image_paths[0])).name)


@pytest.mark.parametrize("name", ["manifest.parquet", "run.json"])
def test_the_same_command_writes_what_was_damaged_anew(make_plan: MakePlan, name: str) -> None:
    first = write_run_dir(make_plan())
    path = first.dir / name
    before = path.read_bytes()
    path.write_bytes(before[: len(before) // 2])
    if name == "run.json":
        with pytest.raises(RunError, match=r"run\.json: damaged.*Move the file away"):
            write_run_dir(make_plan())
        path.unlink()
    assert write_run_dir(make_plan()).records().image_ids == list("abcde")
    assert read_run(first.dir).run_id == first.run_id


def test_shards_of_another_run_are_noticed_without_run_json(make_plan: MakePlan, tmp_path: Path) -> None:
    first = write_run_dir(make_plan(out=tmp_path / "out"))
    with ShardWriter(first, 0, first.shard_records(0)) as writer:
        writer.write(0, failed_rows(first))
        writer.publish(Timings(0, 0, 0, 0))
    (first.dir / "run.json").unlink()
    with pytest.raises(RunError, match=f"holds run {first.run_id}, and .*Name another directory with --out"):
        write_run_dir(make_plan(out=tmp_path / "out", scale="-1..1"))
    assert write_run_dir(make_plan(out=tmp_path / "out")).published_shards() == {0}


def failed_rows(run: Run) -> Rows:
    """Rows of the first shard, all of them missing."""
    count, none = len(run.shard_rows(0)), np.float32("nan")
    classes = np.full((count, 3), none)
    maps = {(method, layer): np.full((count, 3, 8, 8), none) for method, layer in run.request.attributions}
    missing, no_class = np.full(count, Status.MISSING, np.int8), np.full(count, -1, np.int16)
    return Rows(missing, [""] * count, classes, classes, no_class, np.full((count, 3), -1, np.int16), maps)


def test_the_directory_of_another_run_is_refused_with_both_ids_and_what_differs(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    first = write_run_dir(make_plan(out=tmp_path / "out"))
    second = make_plan(out=tmp_path / "out", scale="-1..1", limit=4, shard_size=3)
    with pytest.raises(RunError) as caught:
        write_run_dir(second)
    text = str(caught.value)
    assert f"{tmp_path}/out: holds run {first.run_id}, and this command means run {second.run.run_id}" in text
    assert "spec.input.scale: '0..1' there, '-1..1' now" in text
    assert "shard_size: 32 there, 3 now" in text
    assert "records: 5 there, 4 now" in text
    assert "request" not in text, "what is the same is not named"
    assert text.endswith("Name another directory with --out.")


def test_records_alone_may_differ(make_plan: MakePlan, tmp_path: Path) -> None:
    write_run_dir(make_plan(out=tmp_path / "out"))
    with pytest.raises(RunError, match="What differs: the records or their metadata"):
        write_run_dir(make_plan(out=tmp_path / "out", rows=("L1,a,nv,80", *ROWS[1:])))


def test_a_run_directory_that_cannot_be_written_is_refused(make_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("long" * 75)):
        with pytest.raises(RunError, match=f"{out}: the run directory cannot be written: .*--out"):
            write_run_dir(make_plan(out=out))
        with pytest.raises(RunError, match=f"{out}: the run directory cannot be written: .*--out"):
            check_run_dir(make_plan(out=out).run)


def test_a_run_directory_is_checked_without_a_trace(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(out=tmp_path / "new" / "out")
    check_run_dir(plan.run)
    assert not (tmp_path / "new").exists()
    write_run_dir(plan)
    check_run_dir(plan.run)
    with pytest.raises(RunError, match="holds run"):
        check_run_dir(make_plan(out=tmp_path / "new" / "out", limit=4).run)


def test_a_full_disk_is_said_and_leaves_no_run(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(out=tmp_path / "out")

    def full(*_: object, **__: object) -> None:
        raise OSError("Error writing bytes to file: No space left on device")  # as pyarrow has it: no errno

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(RunError, match="cannot be written: Error writing bytes .*No space left"):
        write_run_dir(plan)
    assert not (tmp_path / "out" / "run.json").exists()


def test_cells_of_any_kind_survive_the_manifest(make_plan: MakePlan) -> None:
    for cells in (["1" * 30, "x", "True"], ["1", "NA", "x"], ["True", "False", ""], ["1" * 30] * 3):
        rows = (f"L,a,mel,{cells[0]}", f"L,b,nv,{cells[1]}", f"L,c,bkl,{cells[2]}")
        run = write_run_dir(make_plan(rows=rows))
        kept = run.records().metadata["metadata_age"].to_pylist()
        assert ["" if one is None else str(one) for one in kept] == cells
