"""How often a shard was begun."""

import os

import pytest

from shared.attempts import (
    MAX_ATTEMPTS,
    begin_attempt,
    excuse_attempt,
    fail_attempt,
    forget_attempts,
    read_all_attempts,
    read_attempts,
    worker_name,
)
from shared.errors import StorageError
from shared.run import Run


def test_a_shard_nobody_began_has_no_attempts(tiny_run: Run) -> None:
    assert read_attempts(tiny_run, 3) is None
    assert read_all_attempts(tiny_run) == []
    forget_attempts(tiny_run, 3)


def test_attempts_are_counted_before_they_can_kill(tiny_run: Run) -> None:
    first = begin_attempt(tiny_run, 3)
    assert (first.shard, first.count, first.error, first.used_up) == (3, 1, "", False)
    assert begin_attempt(tiny_run, 3).count == 2
    assert begin_attempt(tiny_run, 4).count == 1
    assert [(one.shard, one.count) for one in read_all_attempts(tiny_run)] == [(3, 2), (4, 1)]


def test_attempts_are_used_up_after_three(tiny_run: Run) -> None:
    for count in range(1, MAX_ATTEMPTS + 1):
        failed = fail_attempt(tiny_run, begin_attempt(tiny_run, 0), "the disk is full")
        assert (failed.count, failed.used_up) == (count, count == MAX_ATTEMPTS)
    assert read_attempts(tiny_run, 0) == failed


def test_a_final_failure_uses_the_attempts_up_at_once(tiny_run: Run) -> None:
    assert fail_attempt(tiny_run, begin_attempt(tiny_run, 0), "no such model", final=True).used_up


def test_trouble_that_is_not_the_shards_own_never_uses_its_attempts_up(tiny_run: Run) -> None:
    for _ in range(2 * MAX_ATTEMPTS):
        excused = excuse_attempt(tiny_run, begin_attempt(tiny_run, 0), "the folder is not mounted")
        assert (excused.count, excused.error, excused.used_up) == (0, "the folder is not mounted", False)


def test_a_state_folder_that_cannot_be_written_is_trouble_with_the_storage(tiny_run: Run) -> None:
    attempt = begin_attempt(tiny_run, 0)
    forget_attempts(tiny_run, 0)
    tiny_run.attempts_dir.rmdir()
    tiny_run.attempts_dir.write_text("a file where the folder should be")
    for write in (
        lambda: begin_attempt(tiny_run, 0),
        lambda: fail_attempt(tiny_run, attempt, "no such model"),
        lambda: excuse_attempt(tiny_run, attempt, "no space left"),
    ):
        with pytest.raises(StorageError, match=r"shard-000000000.json: writing failed"):
            write()


def test_forgotten_attempts_are_counted_anew(tiny_run: Run) -> None:
    begin_attempt(tiny_run, 0)
    forget_attempts(tiny_run, 0)
    assert read_attempts(tiny_run, 0) is None
    assert begin_attempt(tiny_run, 0).count == 1


def test_damaged_notes_count_as_none_and_nothing_else_is_left(tiny_run: Run) -> None:
    begin_attempt(tiny_run, 0)
    assert os.listdir(tiny_run.attempts_dir) == ["shard-000000000.json"]
    (tiny_run.attempts_dir / "shard-000000000.json").write_text("{")
    assert read_all_attempts(tiny_run) == []


def test_a_worker_is_named_by_its_host_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMSHARD_WORKER_NAME", raising=False)
    assert worker_name().endswith(f"-{os.getpid()}")
    monkeypatch.setenv("CAMSHARD_WORKER_NAME", "gpu-3")
    assert worker_name() == "gpu-3"
