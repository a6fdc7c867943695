"""What workers say of themselves, as others read it."""

import json
import stat
import time
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.heartbeat import (
    Beat,
    WorkerState,
    make_states_dir,
    read_beats,
    read_states,
    write_beat,
    write_state,
)
from shared.run import Run


def test_a_beat_is_read_as_it_was_written(tiny_run: Run) -> None:
    beat = Beat("gpu0-host", 1_000.5, {3: 96, 4: 0})
    write_beat(tiny_run, beat)
    assert read_beats(tiny_run) == [beat]


def test_a_worker_is_alive_for_half_a_minute_after_its_last_beat() -> None:
    assert Beat("w", time.time() - 29).alive and not Beat("w", time.time() - 31).alive


def test_what_is_no_beat_is_passed_over(tiny_run: Run) -> None:
    write_beat(tiny_run, Beat("w", 1.0))
    for name, text in {
        "a": "[]",
        "b": "{",
        "c": '{"worker": "x"}',
        "d": '{"worker": 1, "at": 2, "shards": []}',
    }.items():
        (tiny_run.heartbeats_dir / f"{name}.json").write_text(text)
    assert [one.worker for one in read_beats(tiny_run)] == ["w"]


def test_a_folder_that_cannot_be_written_keeps_nobody_from_working(tiny_run: Run) -> None:
    tiny_run.dir.mkdir(parents=True)
    (tiny_run.dir / "state").write_text("in the way")
    write_beat(tiny_run, Beat("w", 1.0))
    assert read_beats(tiny_run) == []


def test_a_folder_of_reports_that_others_may_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSHARD_STATES", str(tmp_path / "states"))
    assert stat.S_IMODE(make_states_dir().stat().st_mode) == 0o700
    (tmp_path / "states").chmod(0o777)
    with pytest.raises(SettingsError, match="alone may write to"):
        make_states_dir()
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.setenv("CAMSHARD_STATES", str(tmp_path / "link"))
    with pytest.raises(SettingsError, match="alone may write to"):
        make_states_dir()


def test_a_state_is_read_as_it_was_written_and_others_are_passed_over(tmp_path: Path) -> None:
    state = WorkerState("w", 7, 1.0, 2.0, 3, 1, 96, 2, {"computing": 0.5}, ("/runs/a",), ("tag",))
    write_state(tmp_path, state)
    (tmp_path / "other.json").write_text(json.dumps({"worker": "x", "colour": "red"}))
    assert read_states(tmp_path) == [state]
