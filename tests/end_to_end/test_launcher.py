"""`camshard broker` and `camshard worker`, as an operator starts them."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from commands import Camshard, plan_arguments, wait_until
from prometheus_client.parser import text_string_to_metric_families

from camshard.results import open_run
from shared.broker import make_app, publish_tasks
from shared.broker_server import free_port, read_broker_file
from shared.messages import ShardTask
from shared.run import read_run
from shared.shard import read_attributes

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a command of camshard's; what is left is ended with the test."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object, log: str = "log.txt") -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "camshard", *map(str, arguments)]
        env = os.environ | {"CAMSHARD_STATES": str(tmp_path / "states")}
        with (tmp_path / log).open("w") as output:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=env, stdout=output, stderr=output, text=True
            )
        running.append(process)
        return process

    yield run
    for process in reversed(running):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


@pytest.fixture
def broker(start: Start, tmp_path: Path) -> subprocess.Popen[str]:
    return start("broker", "--listen", "127.0.0.1:0", "--broker-file", "url", log="broker.txt")


def test_workers_end_with_their_run_whichever_starts_first(
    camshard: Camshard, start: Start, broker: object, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    worker = start(
        "worker", "--gpus", "none", "--broker-file", "url", "--exit-when-done", "run", "--log-format", "json",
        log="worker.txt",
    )  # fmt: skip
    plan = plan_arguments(lesion_set, small_model)
    done = camshard("enqueue", *plan, "--broker-file", "url", "--shard-size", 8, "--out", "run", "--wait")
    assert done.returncode == 0, done.stderr
    assert worker.wait(60) == 0
    lines = [line for line in (tmp_path / "worker.txt").read_text().splitlines() if line.startswith("{")]
    of_shards = [one for one in map(json.loads, lines) if "shard" in one]
    run = read_run(tmp_path / "run")
    assert sorted(one["shard"] for one in of_shards) == list(range(8))
    assert {one["run"] for one in of_shards} == {run.run_id}
    assert all(one["worker"].startswith("cpu0-") and one["level"] == "INFO" for one in of_shards)
    assert list((tmp_path / "states").iterdir()) == []
    secret = (tmp_path / "url").read_text().split(":")[2].split("@")[0]
    for log in ("worker.txt", "broker.txt"):
        assert secret not in (tmp_path / log).read_text()


def test_a_gpu_that_tensorflow_does_not_see_is_no_reason_to_compute_on_cpus(
    start: Start, broker: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    start("worker", "--gpus", "all", "--broker-file", "url", log="worker.txt")
    wait_until(lambda: "has ended (exit code 1)" in (tmp_path / "worker.txt").read_text())
    said = (tmp_path / "worker.txt").read_text()
    assert "error: TensorFlow sees no GPU, and this worker was started for GPU 0." in said


def test_metrics_say_what_the_runs_shards_say(
    camshard: Camshard, start: Start, broker: object, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1")
    worker = start(
        "worker", "--gpus", "none", "--workers", 2, "--broker-file", "url", "--metrics", f"127.0.0.1:{port}",
    )  # fmt: skip
    plan = plan_arguments(lesion_set, small_model)
    done = camshard("enqueue", *plan, "--broker-file", "url", "--shard-size", 8, "--out", "run", "--wait")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: total(scrape(port), "camshard_shards_total") == 8)
    found = scrape(port)
    run = read_run(tmp_path / "run")
    table = open_run(run.dir).table
    assert total(found, "camshard_images_total", outcome="done") == (table["status"] == 0).sum() == 60
    assert total(found, "camshard_images_total", outcome="failed") == 0
    shards = [read_attributes(run.shard_path(shard)) for shard in range(run.num_shards)]
    for activity in ("reading", "computing", "waiting_for_images"):
        in_files = sum(one[f"seconds_{activity}"] for one in shards)
        assert total(found, "camshard_activity_seconds_total", activity=activity) == pytest.approx(in_files)
    assert total(found, "camshard_run_outstanding_shards") == 0
    assert total(found, "camshard_queue_tasks", state="waiting") == 0
    assert 0 <= total(found, "camshard_worker_heartbeat_age_seconds") < 30
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_a_broker_that_is_killed_and_started_again_costs_no_shard_and_no_command(
    start: Start, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    listen = ("broker", "--listen", f"127.0.0.1:{free_port('127.0.0.1')}", "--broker-file", "url")
    first = start(*listen, log="first.txt")
    worker = start("worker", "--gpus", "none", "--batch-size", 1, "--broker-file", "url", log="worker.txt")
    plan = plan_arguments(lesion_set, small_model)
    enqueue = start(
        "enqueue",
        *plan,
        "--broker-file",
        "url",
        "--shard-size",
        1,
        "--out",
        "run",
        "--wait",
        log="enqueue.txt",
    )
    shards = tmp_path / "run" / "shards"
    wait_until(lambda: len(list(shards.glob("*/*.h5"))) >= 3)
    astray = ShardTask(
        Path("/elsewhere/run"), "0123456789ab", 0, ("id",)
    )  # the worker tries it again and again
    publish_tasks(make_app(read_broker_file(tmp_path / "url", 5)), [astray])
    wait_until(lambda: "tried again later" in (tmp_path / "worker.txt").read_text())
    (child,) = psutil.Process(worker.pid).children()
    (server,) = psutil.Process(first.pid).children()
    first.kill()
    first.wait()
    server.wait(20)
    start(*listen, log="second.txt")
    assert enqueue.wait(120) == 0, (tmp_path / "enqueue.txt").read_text()
    table = open_run(tmp_path / "run").table
    assert table["image_id"].is_unique and len(table) == 60 and (table["status"] == 0).all()
    assert worker.poll() is None and child.is_running(), "the worker did not outlive the broker"


def scrape(port: int) -> list[tuple[str, dict[str, str], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return [(one.name, one.labels, one.value) for family in families for one in family.samples]


def total(samples: list[tuple[str, dict[str, str], float]], name: str, **labels: str) -> float:
    return sum(value for found, of, value in samples if found == name and labels.items() <= of.items())
