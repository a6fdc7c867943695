"""What the workers of this machine have done and what waits for them, for Prometheus at /metrics."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.broker import QueueAge
from shared.errors import BrokerError, CamshardError, SettingsError
from shared.heartbeat import WorkerState
from shared.run import read_run

_RUNS_KNOWN_S = 10.0


class Metrics(Collector):
    """Collects when it is asked, from the workers' reports, the broker and the run directories.

    A worker that was started again counts from 0, as Prometheus expects of counters.

    Args:
        states: returns what each worker last said.
        queue: asks the broker, and raises BrokerError where it cannot be reached.
    """

    def __init__(self, states: Callable[[], list[WorkerState]], queue: Callable[[], QueueAge]):
        self._states = states
        self._queue = queue
        self._outstanding: dict[str, int] = {}
        self._counted_at = 0.0

    def collect(self) -> Iterable[Metric]:
        """Yield every metric as it is now."""
        states = self._states()
        yield from self._done(states)
        yield _seconds(states)
        yield _heartbeat_ages(states)
        yield from self._waiting()
        yield self._shards_outstanding(states)

    def _done(self, states: list[WorkerState]) -> Iterator[Metric]:
        images = CounterMetricFamily(
            "camshard_images", "Images of shards that were made, by whether their status is ok.",
            labels=("worker", "outcome"),
        )  # fmt: skip
        shards = CounterMetricFamily(
            "camshard_shards",
            "Shards made, and tasks that ended with an error.",
            labels=("worker", "outcome"),
        )
        for state in states:
            images.add_metric((state.worker, "done"), state.images_done - state.images_failed)
            images.add_metric((state.worker, "failed"), state.images_failed)
            shards.add_metric((state.worker, "done"), state.shards_done)
            shards.add_metric((state.worker, "failed"), state.shards_failed)
        yield images
        yield shards

    def _waiting(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("camshard_broker_up", "Whether the broker answers: 1 or 0.")
        try:
            queue = self._queue()
        except BrokerError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        tasks = GaugeMetricFamily(
            "camshard_queue_tasks", "Tasks of all runs: waiting, and held by workers.", labels=("state",)
        )
        tasks.add_metric(("waiting",), queue.waiting)
        tasks.add_metric(("held",), queue.held)
        yield tasks
        yield GaugeMetricFamily(
            "camshard_queue_oldest_task_age_seconds", "Since the task that is next was enqueued; 0: none.",
            value=queue.oldest_s,
        )  # fmt: skip

    def _shards_outstanding(self, states: list[WorkerState]) -> Metric:
        family = GaugeMetricFamily(
            "camshard_run_outstanding_shards",
            "Shards that are not published, of the runs that these workers have served.",
            labels=("run",),
        )
        if time.monotonic() - self._counted_at > _RUNS_KNOWN_S or not self._outstanding:
            run_dirs = {run_dir for state in states for run_dir in state.run_dirs}
            self._outstanding = dict(filter(None, map(_count_outstanding, sorted(run_dirs))))
            self._counted_at = time.monotonic()
        for run_dir, number in self._outstanding.items():
            family.add_metric((run_dir,), number)
        return family


@contextmanager
def serve_metrics(address: tuple[str, int], metrics: Metrics) -> Iterator[None]:
    """Answer at http://HOST:PORT/metrics for as long as the block lasts.

    Raises:
        SettingsError: the address cannot be listened at.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    host, port = address
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise SettingsError(f"--metrics {host}:{port}: cannot be listened at: {error.strerror}.") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _seconds(states: list[WorkerState]) -> Metric:
    family = CounterMetricFamily(
        "camshard_activity_seconds",
        "Time of shards that were made. Reading adds up threads; waiting is the model's.",
        labels=("worker", "activity"),
    )
    for state in states:
        for activity, value in state.seconds.items():
            family.add_metric((state.worker, activity), value)
    return family


def _heartbeat_ages(states: list[WorkerState]) -> Metric:
    family = GaugeMetricFamily(
        "camshard_worker_heartbeat_age_seconds", "Since a worker was last seen.", labels=("worker",)
    )
    for state in states:
        family.add_metric((state.worker,), max(0.0, time.time() - state.at))
    return family


def _count_outstanding(run_dir: str) -> tuple[str, int] | None:
    try:
        run = read_run(Path(run_dir))
        return run_dir, run.num_shards - len(run.published_shards())
    except (CamshardError, OSError):
        return None  # it was moved, or its storage is away
