"""What Prometheus is told, parsed with its own parser."""

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.broker import QueueAge
from shared.broker_server import free_port
from shared.errors import BrokerError, SettingsError
from shared.heartbeat import WorkerState
from worker.metrics import Metrics, serve_metrics

STATES = [
    WorkerState("gpu0", 1, 0.0, 0.0, 3, 1, 96, 2, {"computing": 2.5, "reading": 4.0}),
    WorkerState("gpu1", 2, 0.0, 0.0, 1, 0, 32, 0, {"computing": 1.0}),
]


def scrape(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and labels."""
    port = free_port("127.0.0.1")
    with (
        serve_metrics(("127.0.0.1", port), metrics),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels, reverse=True))): one.value
        for family in families
        for one in family.samples
    }


def test_every_worker_is_told_apart():
    found = scrape(Metrics(lambda: STATES, lambda: QueueAge(5, 2, 7.5)))
    expected = {
        ("camshard_images_total", "gpu0", "done"): 94,
        ("camshard_images_total", "gpu0", "failed"): 2,
        ("camshard_images_total", "gpu1", "done"): 32,
        ("camshard_shards_total", "gpu0", "done"): 3,
        ("camshard_shards_total", "gpu0", "failed"): 1,
        ("camshard_activity_seconds_total", "gpu0", "computing"): 2.5,
        ("camshard_activity_seconds_total", "gpu0", "reading"): 4.0,
        ("camshard_broker_up",): 1,
        ("camshard_queue_tasks", "waiting"): 5,
        ("camshard_queue_tasks", "held"): 2,
        ("camshard_queue_oldest_task_age_seconds",): 7.5,
    }
    assert expected.items() <= found.items()


def test_the_age_of_a_heartbeat_is_since_it_was_seen():
    state = WorkerState("cpu0", 1, 0.0, time.time() - 40)
    found = scrape(Metrics(lambda: [state], lambda: QueueAge(0, 0, 0.0)))
    assert found["camshard_worker_heartbeat_age_seconds", "cpu0"] == pytest.approx(40, abs=5)


def test_shards_that_are_not_published_are_outstanding_and_a_run_that_was_moved_is_left_out(run_dir):
    run_dir.shard_path(1).parent.mkdir(parents=True)
    run_dir.shard_path(1).touch()
    state = WorkerState("cpu0", 1, 0.0, 0.0, run_dirs=(str(run_dir.dir), "/nowhere"))
    found = scrape(Metrics(lambda: [state], lambda: QueueAge(0, 0, 0.0)))
    outstanding = {key: value for key, value in found.items() if key[0] == "camshard_run_outstanding_shards"}
    assert outstanding == {("camshard_run_outstanding_shards", str(run_dir.dir)): 2}


def test_a_broker_that_does_not_answer_is_down_and_the_rest_is_told():
    def gone() -> QueueAge:
        raise BrokerError("gone")

    found = scrape(Metrics(lambda: STATES, gone))
    assert found["camshard_broker_up",] == 0
    assert found["camshard_shards_total", "gpu1", "done"] == 1
    assert not any(name.startswith("camshard_queue") for name, *_ in found)


def test_an_address_that_is_taken_is_said():
    port = free_port("127.0.0.1")
    metrics = Metrics(list, lambda: QueueAge(0, 0, 0.0))
    with (
        serve_metrics(("127.0.0.1", port), metrics),
        pytest.raises(SettingsError, match=rf"--metrics 127.0.0.1:{port}: cannot be listened at: Address"),
        serve_metrics(("127.0.0.1", port), metrics),
    ):
        pytest.fail("two servers at one port")
