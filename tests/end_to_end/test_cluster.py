"""`camshard enqueue` and `camshard worker` over a broker that somebody started."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Camshard, plan_arguments, wait_until

from camshard.results import open_run
from producer.enqueue import task_of
from shared.broker import (
    TASK_NAME,
    check_broker,
    look_at_queue,
    make_app,
    publish_tasks,
)
from shared.broker_server import find_server
from shared.errors import BrokerError
from shared.heartbeat import read_beats
from shared.run import Run, read_run
from shared.shard import open_shard

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server on loopback with a password, as an operator would start it."""
    port = 20_000 + os.getpid() % 20_000
    process = subprocess.Popen(
        [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "pass", "--save", "",
         "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"redis://:pass@127.0.0.1:{port}/0"
    wait_until(lambda: _answers(url))
    yield url
    process.terminate()
    process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start programs that are ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def run(*command: object, **environment: str) -> subprocess.Popen[bytes]:
        env = os.environ | environment
        with (tmp_path / f"log{len(running)}.txt").open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command], cwd=tmp_path, env=env, stdout=log, stderr=log
            )
        running.append(process)
        return process

    yield run
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait(60)


def test_two_workers_share_a_run_and_give_the_same_results_as_one(
    camshard: Camshard, start: Callable, broker: str, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    arguments = [*plan_arguments(lesion_set, small_model), "--shard-size", 2]
    for _ in range(2):
        start(
            sys.executable, "-P", "-m", "camshard", "worker", "--gpus", "none", "--batch-size", 2,
            CAMSHARD_BROKER=broker, CAMSHARD_RUNS_ROOT=str(tmp_path), CAMSHARD_WORKERS="1",
        )  # fmt: skip
    done = camshard("enqueue", *arguments, "--broker", broker, "--out", "shared", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass" not in done.stdout + done.stderr
    alone = camshard("run", *arguments, "--batch-size", 2, "--out", "alone")
    assert alone.returncode == 0, alone.stderr
    logs = [(tmp_path / name).read_text() for name in ("log0.txt", "log1.txt")]
    assert all("images/s" in log for log in logs), "one of the workers took no part"
    one, two = open_run(tmp_path / "alone").table, open_run(tmp_path / "shared").table
    exact = ["image_id", "label", "prediction", "status", "error"]
    assert one[exact].equals(two[exact])
    _assert_same_shards(read_run(tmp_path / "alone"), read_run(tmp_path / "shared"))


def test_plain_celery_starts_a_worker_that_answers_and_works(
    camshard: Camshard, start: Callable, broker: str, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    celery = [Path(sys.executable).with_name("celery"), "-A", "worker.app"]
    start(*celery, "worker", CAMSHARD_BROKER=broker, CAMSHARD_RUNS_ROOT=str(tmp_path))
    app = make_app(broker)
    wait_until(lambda: app.control.inspect(timeout=1).registered() is not None)
    (registered,) = app.control.inspect(timeout=5).registered().values()
    assert TASK_NAME in registered
    arguments = [*plan_arguments(lesion_set, small_model), "--limit", 4]
    done = camshard("enqueue", *arguments, "--broker", broker, "--out", "run", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(open_run(tmp_path / "run").table) == 4


def test_a_redelivered_task_leaves_the_first_shard(
    camshard: Camshard, start: Callable, broker: str, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    start(sys.executable, "-P", "-m", "worker", CAMSHARD_BROKER=broker, CAMSHARD_RUNS_ROOT=str(tmp_path))
    arguments = [*plan_arguments(lesion_set, small_model), "--limit", 4, "--out", "run"]
    assert camshard("enqueue", *arguments, "--broker", broker, "--wait").returncode == 0
    run = read_run(tmp_path / "run")
    before = run.shard_path(0).stat()
    app = make_app(broker)
    publish_tasks(app, [task_of(run, 0)])
    wait_until(lambda: look_at_queue(app) == (0, 0))
    after = run.shard_path(0).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_worker_that_may_not_touch_a_run_leaves_its_tasks_to_the_others(
    camshard: Camshard, start: Callable, broker: str, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    def start_worker(root: Path, name: str) -> None:
        start(
            sys.executable, "-P", "-m", "worker", "--hostname", f"{name}@%h",
            CAMSHARD_BROKER=broker, CAMSHARD_RUNS_ROOT=str(root), CAMSHARD_WORKER_NAME=name,
        )  # fmt: skip

    (tmp_path / "allowed").mkdir()
    start_worker(tmp_path / "allowed", "astray")
    arguments = [*plan_arguments(lesion_set, small_model), "--limit", 8, "--shard-size", 2, "--out", "run"]
    assert camshard("enqueue", *arguments, "--broker", broker).returncode == 0
    app = make_app(broker)
    wait_until(lambda: look_at_queue(app).held > 0)
    assert not (tmp_path / "run" / "shards").exists()
    start_worker(tmp_path, "right")
    run = read_run(tmp_path / "run")
    wait_until(lambda: len(run.published_shards()) == 4, timeout_s=240)
    assert [one.worker for one in read_beats(run)] == ["right"]


def _assert_same_shards(one: Run, two: Run) -> None:
    for shard in range(one.num_shards):
        with open_shard(one.shard_path(shard)) as expected, open_shard(two.shard_path(shard)) as found:
            assert {"target", "probability", "cam__conv2", "gradcam__conv2"} < set(found) == set(expected)
            for name in expected:
                _assert_same(name, found[name][...], expected[name][...])


def _assert_same(name: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Floats may differ by 1e-5 of the largest of their shard; all else is equal."""
    if expected.dtype.kind == "f":
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)
    else:
        np.testing.assert_array_equal(found, expected, err_msg=name)


def _answers(url: str) -> bool:
    try:
        check_broker(make_app(url))
        return True
    except BrokerError:
        return False
