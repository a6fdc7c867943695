"""A worker's heart: what it says while shards are at work, between them, and when they fail."""

import threading
from pathlib import Path

import pytest

from shared.heartbeat import read_beats, read_states
from shared.run import Run
from shared.shard import Timings
from worker import heart as heart_module
from worker.heart import Heart


@pytest.fixture
def heart(tmp_path: Path) -> Heart:
    return Heart("w", tmp_path / "states")


def test_shards_at_work_are_said_with_their_rows_and_no_longer_when_they_are_done(heart, tiny_run: Run):
    with heart.working(tiny_run, 0) as first, heart.working(tiny_run, 2):
        first.rows_done = 32
        heart.beat()
        assert [beat.shards for beat in read_beats(tiny_run)] == [{0: 32, 2: 0}]
    assert [beat.shards for beat in read_beats(tiny_run)] == [{}]


def test_the_heart_beats_by_itself_while_a_worker_is_idle(heart, tmp_path, monkeypatch):
    beaten = threading.Event()
    beats: list[object] = []

    def sleep(_: float) -> None:
        beats.append(read_states(tmp_path / "states"))
        if len(beats) == 2:
            beaten.set()
            threading.Event().wait()  # for ever: the thread ends with the process

    monkeypatch.setattr(heart_module.time, "sleep", sleep)
    heart.start()
    assert beaten.wait(30)
    (first,), (second,) = beats
    assert first.at < second.at


def test_what_was_done_is_counted_and_what_failed_apart(heart, tiny_run: Run):
    heart.count(32, 2, Timings(1.5, 2.5, 100.0, 101.0, 0.25, 0.5))
    heart.count(8, 0, Timings(0.5, 0.5, 100.0, 101.0))
    with pytest.raises(ValueError), heart.working(tiny_run, 1):
        raise ValueError
    state = heart.state()
    assert (state.shards_done, state.shards_failed) == (2, 1)
    assert (state.images_done, state.images_failed) == (40, 2)
    assert state.seconds == {
        "reading": 2.0, "computing": 3.0, "waiting_for_images": 0.25, "waiting_for_writing": 0.5,
    }  # fmt: skip


def test_the_runs_served_are_remembered_the_latest_last(heart, tiny_run: Run, tmp_path):
    from dataclasses import replace

    other = replace(tiny_run, dir=tmp_path / "other")
    for run in (tiny_run, other, tiny_run):
        with heart.working(run, 0):
            pass
    assert heart.state().run_dirs == (str(other.dir), str(tiny_run.dir))


def test_the_messages_held_are_said(heart, tmp_path):
    heart.deliveries = lambda: ("tag",)
    heart.beat()
    (state,) = read_states(tmp_path / "states")
    assert state.deliveries == ("tag",)
