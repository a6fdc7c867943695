"""What of a run is done, from the run directory alone."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_results import publish_all, write_shard

from producer.progress import AccuracyCheck, Watcher, has_ended, progress_to_dict
from shared.attempts import begin_attempt, excuse_attempt, fail_attempt
from shared.errors import ShardError
from shared.finish import finish_run, is_current
from shared.heartbeat import Beat, write_beat
from shared.records import Records
from shared.run import Run
from shared.shard import Rows, ShardWriter, Timings
from shared.shard_files import find_shard_files
from shared.status import Status
from shared.table import read_digests

PublishShard = Callable[..., None]


@pytest.fixture
def publish_shard() -> PublishShard:
    """Publish a shard with these labels and predictions (-1: a failed row) and times."""

    def publish(
        run: Run,
        shard: int,
        labels: list[int] | None = None,
        predictions: list[int] | None = None,
        started_at: float = 100.0,
        finished_at: float = 110.0,
    ) -> None:
        count = len(run.shard_rows(shard))
        labels = labels or [0] * count
        predicted = np.array(predictions or [0] * count, np.int16)
        ids = [f"i{row}" for row in run.shard_rows(shard)]
        records = Records(ids, [None] * count, np.array(labels, np.int16), pa.table({}))
        scores = np.zeros((count, 3), np.float32)
        statuses = np.where(predicted < 0, Status.MISSING, Status.OK).astype(np.int8)
        rows = Rows(statuses, [""] * count, scores, scores, predicted, np.zeros((count, 3), np.int16), {})
        with ShardWriter(run, shard, records) as writer:
            writer.write(0, rows)
            writer.publish(Timings(0, 0, started_at, started_at))
        with h5py.File(run.shard_path(shard), "r+") as file:
            file.attrs["finished_at"] = finished_at

    return publish


def beat(run: Run, worker: str, shard: int, rows_done: int) -> None:
    write_beat(run, Beat(worker, time.time(), {shard: rows_done}))


def test_a_run_that_has_not_begun(tiny_run: Run) -> None:
    progress = Watcher(tiny_run).look()
    assert (progress.shards, progress.shards_done, progress.rows, progress.rows_done) == (3, 0, 5, 0)
    assert (progress.images_per_s, progress.seconds_left, progress.workers) == (None, None, ())
    assert not progress.complete


def test_shards_and_failed_rows_are_counted(tiny_run: Run, publish_shard: PublishShard) -> None:
    watcher = Watcher(tiny_run)
    publish_shard(tiny_run, 0, predictions=[1, -1])
    publish_shard(tiny_run, 2)
    progress = watcher.look()
    assert (progress.shards_done, progress.rows_done, progress.rows_failed) == (2, 3, 1)
    publish_shard(tiny_run, 1, predictions=[-1, -1])
    progress = watcher.look()
    assert (progress.rows_done, progress.rows_failed, progress.complete) == (5, 3, True)
    assert progress.seconds_left == 0


def test_the_rate_of_the_first_shards_counts_from_their_begin(
    tiny_run: Run, publish_shard: PublishShard
) -> None:
    publish_shard(tiny_run, 0, started_at=100, finished_at=104)
    progress = Watcher(tiny_run).look()
    assert (progress.images_per_s, progress.seconds_left) == (0.5, 6.0)


def test_the_rate_does_not_count_loading_the_model_once_there_are_more(
    tiny_run: Run, publish_shard: PublishShard
) -> None:
    run = replace(tiny_run, num_records=12)
    for shard in range(5):
        publish_shard(run, shard, started_at=shard and 98 + 2 * shard, finished_at=100 + 2 * shard)
    progress = Watcher(run).look()
    assert (progress.images_per_s, progress.seconds_left) == (1.0, 2.0)


def test_a_pause_does_not_weigh_on_the_rate(tiny_run: Run, publish_shard: PublishShard) -> None:
    publish_shard(tiny_run, 0, started_at=100, finished_at=110)
    publish_shard(tiny_run, 1, started_at=9_999, finished_at=10_000)
    assert Watcher(tiny_run).look().images_per_s == 2.0


def test_rows_that_workers_have_computed_count_until_their_shard_is_there(
    tiny_run: Run, publish_shard: PublishShard
) -> None:
    publish_shard(tiny_run, 0, started_at=100, finished_at=104)
    beat(tiny_run, "one", 0, 2)
    beat(tiny_run, "two", 1, 1)
    write_beat(tiny_run, Beat("gone", time.time() - 60, {2: 1}))
    progress = Watcher(tiny_run).look()
    assert (progress.rows_done, progress.rows_working, progress.seconds_left) == (2, 1, 4.0)
    assert [one.worker for one in progress.workers] == ["one", "two"]


def test_pauses_when_nobody_worked_do_not_weigh_on_the_rate_of_many_shards(
    tiny_run: Run, publish_shard: PublishShard
) -> None:
    run = replace(tiny_run, num_records=12)
    for shard, started_at in enumerate((0, 10, 250, 251, 290)):
        publish_shard(run, shard, started_at=started_at, finished_at=started_at + 2)
    assert Watcher(run).look().images_per_s == 8 / 7  # 10-12, 250-253 and 290-292


def test_shards_that_were_given_up_are_listed_with_the_reason(
    tiny_run: Run, publish_shard: PublishShard
) -> None:
    for shard in (0, 1):
        fail_attempt(tiny_run, begin_attempt(tiny_run, shard), "the model is gone", final=True)
    excuse_attempt(tiny_run, begin_attempt(tiny_run, 2), "the disk is full")
    publish_shard(tiny_run, 0)
    progress = Watcher(tiny_run).look()
    assert [(one.shard, one.error) for one in progress.given_up] == [(1, "the model is gone")]
    assert [(one.shard, one.error) for one in progress.troubled] == [(2, "the disk is full")]
    assert not progress.hopeless


def test_a_run_is_hopeless_once_all_that_is_missing_was_given_up(
    tiny_run: Run, publish_shard: PublishShard
) -> None:
    publish_shard(tiny_run, 0)
    for shard in (1, 2):
        assert not Watcher(tiny_run).look().hopeless
        assert not has_ended(tiny_run)
        fail_attempt(tiny_run, begin_attempt(tiny_run, shard), "no", final=True)
    assert Watcher(tiny_run).look().hopeless
    assert has_ended(tiny_run)


def test_whether_a_run_has_ended_is_known_without_opening_its_shards(tiny_run: Run) -> None:
    for shard in range(3):
        assert not has_ended(tiny_run)
        tiny_run.shard_path(shard).parent.mkdir(parents=True, exist_ok=True)
        tiny_run.shard_path(shard).touch()
    assert has_ended(tiny_run)


def test_a_shard_whose_process_died_three_times_is_given_up_once_nobody_is_at_it(tiny_run: Run) -> None:
    for _ in range(3):
        begin_attempt(tiny_run, 1)
    beat(tiny_run, "w", 1, 0)
    assert Watcher(tiny_run).look().given_up == ()
    (tiny_run.heartbeats_dir / "w.json").unlink()
    assert [one.shard for one in Watcher(tiny_run).look().given_up] == [1]


def test_progress_is_json(tiny_run: Run, publish_shard: PublishShard) -> None:
    publish_shard(tiny_run, 0, started_at=100, finished_at=104)
    beat(tiny_run, "one", 1, 1)
    fail_attempt(tiny_run, begin_attempt(tiny_run, 2), "no", final=True)
    document = json.loads(json.dumps(progress_to_dict(Watcher(tiny_run).look())))
    assert (document["complete"], document["rows_done"], document["images_per_s"]) == (False, 2, 0.5)
    assert (document["workers"][0]["worker"], document["given_up"][0]["error"]) == ("one", "no")


def test_each_shard_is_opened_once(
    tiny_run: Run, publish_shard: PublishShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_shard(tiny_run, 0)
    watcher = Watcher(tiny_run)
    watcher.look()
    monkeypatch.setattr("producer.progress.read_facts", lambda *_: pytest.fail("opened again"))
    assert watcher.look().rows_done == 2


def test_the_shards_of_a_run_with_its_table_are_not_opened(
    run_dir: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(run_dir)
    before = Watcher(run_dir).look()
    assert finish_run(run_dir)
    monkeypatch.setattr("producer.progress.read_facts", lambda *_: pytest.fail("opened"))
    assert Watcher(run_dir).look() == before
    assert (before.complete, before.rows_failed) == (True, 1)


def test_a_table_that_is_not_of_the_newest_files_is_not_believed(run_dir: Run) -> None:
    publish_all(run_dir)
    assert finish_run(run_dir)
    with h5py.File(run_dir.shard_path(1), "r+") as file:
        file.attrs["rows_failed"] = 2
        file["more"] = np.zeros(1_000)
    assert Watcher(run_dir).look().rows_failed == 2


def test_a_shard_that_is_made_anew_counts_as_it_is_now(run_dir: Run) -> None:
    publish_all(run_dir)
    assert finish_run(run_dir)
    run_dir.shard_path(1).unlink()
    assert Watcher(run_dir).look().rows_done == 3
    both = np.array([True, True])
    write_shard(run_dir, 1, run_dir.shard_records(1), np.array([2, 3]), failed=both)
    assert Watcher(run_dir).look().rows_failed == 2


def test_a_table_that_tells_nothing_of_its_shards_is_left_aside(run_dir: Run) -> None:
    """As versions before wrote it."""
    publish_all(run_dir)
    assert finish_run(run_dir)
    table = pq.read_table(run_dir.table_path)
    about = {b"camshard": table.schema.metadata[b"camshard"]}
    pq.write_table(table.replace_schema_metadata(about), run_dir.table_path)
    assert is_current(read_digests(run_dir), find_shard_files(run_dir))
    assert Watcher(run_dir).look().rows_failed == 1


def test_a_shard_of_another_run_is_refused(tiny_run: Run, publish_shard: PublishShard) -> None:
    publish_shard(replace(tiny_run, run_id="fedcba987654"), 0)
    with pytest.raises(ShardError, match="a shard of run fedcba987654, not of 0123456789ab"):
        Watcher(tiny_run).look()


def test_a_damaged_shard_is_named(tiny_run: Run, publish_shard: PublishShard) -> None:
    publish_shard(tiny_run, 0)
    os.truncate(tiny_run.shard_path(0), 100)
    with pytest.raises(ShardError, match=r"shard-000000000\.h5"):
        Watcher(tiny_run).look()


# The five records have the labels 0, 1, 2, unknown, 0: the commonest class is bkl.


def test_accuracy_below_always_guessing_is_warned_of_once(run_dir: Run, publish_shard: PublishShard) -> None:
    check = AccuracyCheck(run_dir)
    assert check.warning() is None
    publish_shard(run_dir, 0, labels=[0, 1], predictions=[2, 2])
    warning = check.warning()
    assert warning is not None
    assert "accuracy so far is 0% over 2 labelled images; always saying 'bkl' would give 50%" in warning
    assert all(word in warning for word in ("--scale", "--classes", "interpolation"))
    assert check.warning() is None


def test_a_sorted_csv_raises_no_false_alarm(run_dir: Run, publish_shard: PublishShard) -> None:
    check = AccuracyCheck(run_dir)
    publish_shard(run_dir, 0, labels=[1, 2], predictions=[1, 0])  # none of them of the commonest class
    assert check.warning() is None
    publish_shard(run_dir, 2, labels=[0], predictions=[0])
    assert check.warning() is None


def test_unknown_labels_and_failed_rows_do_not_count_for_accuracy(
    run_dir: Run, publish_shard: PublishShard
) -> None:
    check = AccuracyCheck(run_dir)
    publish_shard(run_dir, 0, labels=[0, 0], predictions=[-1, -1])
    publish_shard(run_dir, 1, labels=[-1, -1], predictions=[2, 2])
    assert check.warning() is None
    assert not check.warned


def test_accuracy_is_counted_over_the_first_shards_alone(
    run_dir: Run, publish_shard: PublishShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.progress._COUNTED_SHARDS", 1)
    check = AccuracyCheck(run_dir)
    publish_shard(run_dir, 1, labels=[0, 0], predictions=[0, 0])
    assert check.warning() is None
    publish_shard(run_dir, 0, labels=[0, 0], predictions=[1, 1])
    publish_shard(run_dir, 2, labels=[0], predictions=[1])
    assert check.warning() is None
