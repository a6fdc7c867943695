"""How often a shard was begun, and what workers last said of themselves."""

import os
import time

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
from shared.heartbeat import ALIVE_S, Beat, Heart, read_beats
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


def test_the_last_beat_of_each_worker_is_read(tiny_run: Run) -> None:
    before = time.time()
    with Heart(tiny_run, "host.example.org-1", 7) as heart, Heart(tiny_run, "host.example.org-2", 8):
        heart.rows_done = 16
    beats = read_beats(tiny_run)
    assert [(one.worker, one.shard, one.rows_done) for one in beats] == [
        ("host.example.org-1", 7, 16),
        ("host.example.org-2", 8, 0),
    ]
    assert all(before <= one.at <= time.time() and one.alive for one in beats)


def test_a_heart_beats_while_its_worker_says_nothing(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.heartbeat._INTERVAL_S", 0.01)
    with Heart(tiny_run, "w", 0) as heart:
        heart.rows_done = 5
        while read_beats(tiny_run)[0].rows_done < 5:
            time.sleep(0.001)  # the test's own time limit ends this if the thread never beats
        first = read_beats(tiny_run)[0].at
        while read_beats(tiny_run)[0].at == first:
            time.sleep(0.001)


def test_a_worker_not_seen_for_half_a_minute_is_not_alive() -> None:
    assert Beat("w", time.time() - ALIVE_S + 5, 0, 0).alive
    assert not Beat("w", time.time() - ALIVE_S - 1, 0, 0).alive


def test_a_beat_that_cannot_be_written_stops_nobody(tiny_run: Run) -> None:
    tiny_run.dir.mkdir(parents=True)
    (tiny_run.dir / "state").write_text("a file where the folder should be")
    with Heart(tiny_run, "w", 0):
        assert read_beats(tiny_run) == []
