"""A whole run verified: what is clean, unfinished, stray or set aside, and what the command says."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_results import publish_rows, redo
from run_damage import (
    SHARD,
    files_below,
    flip,
    found_in,
    repair_and_finish,
    truncate,
)

import camshard.verify.readers
from camshard.verify.file_check import FileRequest
from camshard.verify.finding import Kind
from camshard.verify.readers import Reader
from camshard.verify.run import verify_run
from shared.finish import finish_run
from shared.run import Run, read_run


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


def test_repair_loses_no_bytes_and_overwrites_nothing(finished: Run) -> None:
    for round_number in (1, 2):
        truncate(finished.shard_path(1))
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
    truncate(finished.shard_path(1))
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
    truncate(finished.shard_path(1))
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
