"""Which workers are started, with what environment, and how they are kept going."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.broker import QUEUE, look_at_queue, make_app, publish_tasks
from shared.broker_server import embedded_broker
from shared.heartbeat import WorkerState, read_states, write_state
from shared.messages import ShardTask
from shared.settings import Settings
from worker import launch
from worker.launch import Workers, worker_environment
from worker.places import Place

WAIT = "import signal; signal.pause()"
URL = "redis://worker:secret@broker:6379/0"


class Started:
    """Stands for Celery workers: notes what would be started, and starts a child that waits or ends."""

    def __init__(self, code: str):
        self.code = code
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(self, command, env, stdout=None):
        self.commands.append(command)
        self.environments.append(env)
        return subprocess.Popen(
            [sys.executable, "-c", self.code], stdout=stdout or subprocess.DEVNULL, start_new_session=True
        )


@pytest.fixture
def waiting(monkeypatch) -> Started:
    started = Started(WAIT)
    monkeypatch.setattr(launch, "start_child", started)
    return started


def test_a_worker_is_told_by_environment_what_it_needs():
    settings = Settings(batch_size=8, read_threads=3, trust_model=True, map="/a=/b,/c=/d")
    assert worker_environment(settings, URL, Path("/runs")) == {
        "CAMSHARD_TOLD_ALL": "1",
        "CAMSHARD_BROKER": URL,
        "CAMSHARD_RUNS_ROOT": "/runs",
        "CAMSHARD_BATCH_SIZE": "8",
        "CAMSHARD_READ_THREADS": "3",
        "CAMSHARD_TRUST_MODEL": "1",
        "CAMSHARD_MAP": "/a=/b,/c=/d",
        "CAMSHARD_LOG_FORMAT": "text",
        "CAMSHARD_CACHE_SIZE": "10.0",
    }


def test_what_is_not_asked_for_is_not_told_and_least_of_all_trust():
    assert worker_environment(Settings(), URL, Path("/runs")) == {
        "CAMSHARD_TOLD_ALL": "1",
        "CAMSHARD_BROKER": URL,
        "CAMSHARD_RUNS_ROOT": "/runs",
        "CAMSHARD_TRUST_MODEL": "0",
        "CAMSHARD_LOG_FORMAT": "text",
        "CAMSHARD_CACHE_SIZE": "10.0",
    }


def test_settings_in_the_launchers_own_environment_do_not_reach_a_worker(waiting, monkeypatch, tmp_path):
    monkeypatch.setenv("CAMSHARD_BATCH_SIZE", "1")
    monkeypatch.setenv("CAMSHARD_MAP", "/a=/b")
    told = worker_environment(Settings(batch_size=8, map=()), URL, Path("/runs"))
    workers = Workers([Place("cpu0", None, 2)], told, tmp_path)
    workers.stop()
    assert waiting.environments[0]["CAMSHARD_BATCH_SIZE"] == "8"
    assert "CAMSHARD_MAP" not in waiting.environments[0]
    assert waiting.environments[0]["PATH"] == os.environ["PATH"]


def test_the_brokers_password_is_in_no_command_line(waiting, tmp_path):
    workers = Workers([Place("cpu0", None, 2)], worker_environment(Settings(), URL, Path("/runs")), tmp_path)
    workers.stop()
    assert waiting.environments[0]["CAMSHARD_BROKER"] == URL
    assert "secret" not in " ".join(waiting.commands[0])


def test_each_worker_sees_its_gpu_alone_and_those_on_cpus_none(waiting, tmp_path):
    workers = Workers([Place("gpu3", "3", 4), Place("cpu0", None, 2)], {}, tmp_path)
    workers.stop()
    on_gpu, on_cpu = waiting.environments
    assert on_gpu["CUDA_VISIBLE_DEVICES"] == "3"
    assert on_cpu["CUDA_VISIBLE_DEVICES"] == "-1"
    assert on_cpu["TF_NUM_INTRAOP_THREADS"] == on_cpu["OMP_NUM_THREADS"] == "2"
    assert on_gpu["CAMSHARD_WORKER_NAME"].startswith("gpu3-")


def test_a_worker_that_ended_by_itself_is_started_again(monkeypatch, tmp_path):
    started = Started("pass")
    monkeypatch.setattr(launch, "start_child", started)
    monkeypatch.setattr(launch, "_RESTART_WAIT_S", 0.0)
    workers = Workers([Place("cpu0", None, 1)], {}, tmp_path)
    workers._children[0].process.wait()
    workers.supervise()  # sees the end and sets the time to wait
    started.code = WAIT
    workers.supervise()
    assert len(started.commands) == 2
    assert started.commands[0] == started.commands[1]
    workers.stop()


def test_a_worker_that_runs_is_left_alone(waiting, tmp_path):
    workers = Workers([Place("cpu0", None, 1)], {}, tmp_path)
    workers.supervise()
    assert len(waiting.commands) == 1
    workers.stop()


def test_stopping_ends_every_worker(waiting, tmp_path):
    workers = Workers([Place("cpu0", None, 1), Place("cpu1", None, 1)], {}, tmp_path)
    assert workers.alive()
    workers.stop()
    assert not workers.alive()


def test_what_workers_print_goes_to_the_log(waiting, tmp_path):
    log_path = tmp_path / "workers.log"
    waiting.code = "print('hello')"
    workers = Workers([Place("cpu0", None, 1)], {}, tmp_path, log_path)
    workers._children[0].process.wait()
    assert log_path.read_text() == "hello\n"


def test_a_worker_that_dies_again_and_again_is_waited_for_longer_each_time(monkeypatch, tmp_path, capsys):
    now = 0.0
    monkeypatch.setattr(launch.time, "monotonic", lambda: now)
    monkeypatch.setattr(launch, "start_child", Started("raise SystemExit(7)"))
    workers = Workers([Place("cpu0", None, 1)], {}, tmp_path)
    waits = []
    for _ in range(7):
        workers._children[0].process.wait()
        workers.supervise()
        waits.append(workers._children[0].not_before - now)
        now = workers._children[0].not_before
        workers.supervise()
    assert waits == [2, 4, 8, 16, 32, 60, 60]
    assert "has ended (exit code 7) and is started again in 2 s" in capsys.readouterr().err
    now += launch._GOOD_LIFE_S + 1
    workers._children[0].process.wait()
    workers.supervise()
    assert workers._children[0].not_before - now == 2  # it had lived long enough to be trusted again
    workers.stop()


@pytest.mark.service
def test_what_a_worker_held_when_it_was_killed_is_back_in_the_queue_at_once(waiting, tmp_path):
    with embedded_broker() as url:
        app = make_app(url)
        publish_tasks(app, [ShardTask(Path("/runs/a"), "0123456789ab", 0, ("id",))])
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            tag = queue.get(timeout=5).delivery_tag
            workers = Workers(
                [Place("cpu0", None, 1)], worker_environment(Settings(), url, tmp_path), tmp_path
            )
            (child,) = workers._children
            write_state(tmp_path, WorkerState(child.name, 1, 0.0, 0.0, deliveries=(tag,)))
            assert look_at_queue(app) == (0, 1)
            child.process.kill()
            child.process.wait()
            workers.supervise()
            assert look_at_queue(app) == (1, 0)
            workers.stop()
            queue.close()
        app.close()


def test_each_worker_reports_under_a_name_of_its_own_and_leaves_no_report(waiting, tmp_path):
    workers = Workers([Place("cpu0", None, 1), Place("cpu1", None, 1)], {}, tmp_path)
    names = [env["CAMSHARD_WORKER_NAME"] for env in waiting.environments]
    assert {env["CAMSHARD_STATES"] for env in waiting.environments} == {str(tmp_path)}
    assert len(set(names)) == 2
    for name in (*names, "of another launcher"):
        write_state(tmp_path, WorkerState(name, 1, 0.0, 0.0))
    assert [state.worker for state in workers.states()] == sorted(names)
    workers.stop()
    assert [state.worker for state in read_states(tmp_path)] == ["of another launcher"]
