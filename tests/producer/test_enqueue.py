"""Shards to tasks in a bounded window."""

from collections.abc import Iterator

import pytest
from celery import Celery

from producer.enqueue import Enqueuer, ask_anew, missing_shards, task_of
from shared.attempts import begin_attempt, fail_attempt, read_attempts
from shared.broker import QUEUE, look_at_queue, make_app
from shared.broker_server import embedded_broker
from shared.errors import BrokerError
from shared.messages import ShardTask
from shared.run import Run


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[ShardTask]:
    """What reaches the broker: a list stands for it, and holds all that was published."""
    tasks: list[ShardTask] = []
    monkeypatch.setattr("producer.enqueue.publish_tasks", lambda _, batch: tasks.extend(batch))
    monkeypatch.setattr("producer.enqueue.look_at_queue", lambda _: (len(tasks), 0))
    return tasks


@pytest.fixture
def app() -> Celery:
    return make_app("redis://nowhere")


@pytest.fixture(scope="module")
def real_app() -> Iterator[Celery]:
    with embedded_broker() as url:
        app = make_app(url)
        yield app
        app.close()


def test_a_task_carries_the_ids_of_its_records(run_dir: Run) -> None:
    assert task_of(run_dir, 1) == ShardTask(run_dir.dir, run_dir.run_id, 1, ("c", "d"))


def test_shards_that_are_not_there_are_missing(tiny_run: Run) -> None:
    assert missing_shards(tiny_run) == [0, 1, 2]
    tiny_run.shard_path(1).parent.mkdir(parents=True)
    tiny_run.shard_path(1).touch()
    assert missing_shards(tiny_run) == [0, 2]


def test_the_window_is_never_exceeded(run_dir: Run, app: Celery, published: list[ShardTask]) -> None:
    enqueuer = Enqueuer(app, run_dir, window=2)
    enqueuer.start([0, 1, 2])
    assert enqueuer.fill_window() == 2
    assert enqueuer.fill_window() == 0
    assert [task.shard for task in published] == [0, 1]
    published.clear()  # workers took them
    assert (enqueuer.fill_window(), enqueuer.exhausted) == (1, True)
    assert [task.shard for task in published] == [2]


def test_a_large_window_is_filled_in_batches(
    run_dir: Run, app: Celery, published: list[ShardTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr("producer.enqueue._BATCH", 2)
    monkeypatch.setattr("producer.enqueue.publish_tasks", lambda _, batch: sizes.append(len(batch)))
    enqueuer = Enqueuer(app, run_dir, window=500)
    enqueuer.start([0, 1, 2])
    assert enqueuer.fill_window() == 3
    assert [size for size in sizes if size] == [2, 1]


def test_nothing_to_do_asks_the_broker_nothing(tiny_run: Run, app: Celery) -> None:
    enqueuer = Enqueuer(app, tiny_run, window=2)
    enqueuer.start([])
    assert (enqueuer.fill_window(), enqueuer.exhausted) == (0, True)


def test_a_batch_that_failed_is_published_again(
    run_dir: Run, app: Celery, published: list[ShardTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise BrokerError("gone")

    enqueuer = Enqueuer(app, run_dir, window=500)
    enqueuer.start([0, 1, 2])
    with monkeypatch.context() as patched:
        patched.setattr("producer.enqueue.publish_tasks", fail)
        with pytest.raises(BrokerError, match="gone"):
            enqueuer.fill_window()
    assert enqueuer.fill_window() == 3
    assert [task.shard for task in published] == [0, 1, 2]


def test_shards_that_are_asked_for_anew_start_with_no_attempts(tiny_run: Run) -> None:
    fail_attempt(tiny_run, begin_attempt(tiny_run, 1), "no memory", final=True)
    assert ask_anew(tiny_run) == [0, 1, 2]
    assert read_attempts(tiny_run, 1) is None


def test_shards_that_are_published_again_keep_their_attempts(tiny_run: Run, app: Celery) -> None:
    begin_attempt(tiny_run, 1)
    Enqueuer(app, tiny_run, window=2).start([1])
    kept = read_attempts(tiny_run, 1)
    assert kept is not None
    assert kept.count == 1


@pytest.mark.service
def test_a_real_queue_holds_the_window_and_no_more(run_dir: Run, real_app: Celery) -> None:
    enqueuer = Enqueuer(real_app, run_dir, window=2)
    enqueuer.start([0, 1, 2])
    assert enqueuer.fill_window() == 2
    assert look_at_queue(real_app) == (2, 0)
    with real_app.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        taken = [queue.get(timeout=5) for _ in range(2)]
        assert enqueuer.fill_window() == 0, "tasks that workers hold fill the window too"
        for one in taken:
            one.ack()
        queue.close()
    assert enqueuer.fill_window() == 1
