"""Which workers are started, with what environment, and how they are kept going."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings
from worker import launch
from worker.launch import Place, Workers, choose_places, visible_gpus, worker_environment

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


def test_without_gpus_the_workers_share_the_cpus(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert choose_places(Settings(workers=3), []) == [Place(f"cpu{number}", None, 2) for number in range(3)]


def test_every_worker_has_a_thread_however_many_there_are(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert [place.threads for place in choose_places(Settings(workers=4), [])] == [1, 1, 1, 1]


@pytest.mark.parametrize("gpus", [None, "all"])
def test_every_gpu_has_a_worker_unless_told_otherwise(gpus):
    assert choose_places(Settings(gpus=gpus), ["0", "3"]) == [Place("gpu0", "0", 0), Place("gpu3", "3", 0)]


def test_gpus_are_chosen_by_number():
    assert choose_places(Settings(gpus="3, 1"), ["0", "1", "3"]) == [
        Place("gpu3", "3", 0),
        Place("gpu1", "1", 0),
    ]


def test_gpus_can_be_left_alone():
    assert [place.gpu for place in choose_places(Settings(gpus="none"), ["0"])] == [None]


@pytest.mark.parametrize(("asked", "seen"), [("all", []), ("0", []), ("0,7", ["0", "1"])])
def test_a_gpu_that_is_not_seen_is_an_error_and_not_a_cpu(asked, seen):
    with pytest.raises(SettingsError, match=f"--gpus {asked}: seen here: {', '.join(seen) or 'no GPU'}"):
        choose_places(Settings(gpus=asked), seen)


@pytest.mark.parametrize(
    ("value", "seen"), [("1,3", ["1", "3"]), ("", []), ("-1", []), ("GPU-ab12", ["GPU-ab12"])]
)
def test_cuda_visible_devices_says_which_gpus_there_are(monkeypatch, value, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == seen


def test_nvidia_smi_is_asked_where_nothing_is_said(monkeypatch, tmp_path):
    """There is no GPU here: a script stands for nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0\\n1\\n'\n")
    program.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_gpus() == ["0", "1"]


def test_without_nvidia_smi_there_is_no_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []


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
    }


def test_what_is_not_asked_for_is_not_told_and_least_of_all_trust():
    assert worker_environment(Settings(), URL, Path("/runs")) == {
        "CAMSHARD_TOLD_ALL": "1",
        "CAMSHARD_BROKER": URL,
        "CAMSHARD_RUNS_ROOT": "/runs",
        "CAMSHARD_TRUST_MODEL": "0",
    }


def test_settings_in_the_launchers_own_environment_do_not_reach_a_worker(waiting, monkeypatch):
    monkeypatch.setenv("CAMSHARD_BATCH_SIZE", "1")
    monkeypatch.setenv("CAMSHARD_MAP", "/a=/b")
    told = worker_environment(Settings(batch_size=8, map=()), URL, Path("/runs"))
    workers = Workers([Place("cpu0", None, 2)], told)
    workers.stop()
    assert waiting.environments[0]["CAMSHARD_BATCH_SIZE"] == "8"
    assert "CAMSHARD_MAP" not in waiting.environments[0]
    assert waiting.environments[0]["PATH"] == os.environ["PATH"]


def test_the_brokers_password_is_in_no_command_line(waiting):
    workers = Workers([Place("cpu0", None, 2)], worker_environment(Settings(), URL, Path("/runs")))
    workers.stop()
    assert waiting.environments[0]["CAMSHARD_BROKER"] == URL
    assert "secret" not in " ".join(waiting.commands[0])


def test_each_worker_sees_its_gpu_alone_and_those_on_cpus_none(waiting):
    workers = Workers([Place("gpu3", "3", 0), Place("cpu0", None, 2)], {})
    workers.stop()
    on_gpu, on_cpu = waiting.environments
    assert on_gpu["CUDA_VISIBLE_DEVICES"] == "3"
    assert on_cpu["CUDA_VISIBLE_DEVICES"] == "-1"
    assert on_cpu["TF_NUM_INTRAOP_THREADS"] == on_cpu["OMP_NUM_THREADS"] == "2"
    assert on_gpu["CAMSHARD_WORKER_NAME"].startswith("gpu3-")


def test_a_worker_that_ended_by_itself_is_started_again(monkeypatch):
    started = Started("pass")
    monkeypatch.setattr(launch, "start_child", started)
    monkeypatch.setattr(launch, "_RESTART_WAIT_S", 0.0)
    workers = Workers([Place("cpu0", None, 1)], {})
    workers._children[0].process.wait()
    workers.supervise()  # sees the end and sets the time to wait
    started.code = WAIT
    workers.supervise()
    assert len(started.commands) == 2
    assert started.commands[0] == started.commands[1]
    workers.stop()


def test_a_worker_that_runs_is_left_alone(waiting):
    workers = Workers([Place("cpu0", None, 1)], {})
    workers.supervise()
    assert len(waiting.commands) == 1
    workers.stop()


def test_stopping_ends_every_worker(waiting):
    workers = Workers([Place("cpu0", None, 1), Place("cpu1", None, 1)], {})
    assert workers.alive()
    workers.stop()
    assert not workers.alive()


def test_what_workers_print_goes_to_the_log(waiting, tmp_path):
    log_path = tmp_path / "workers.log"
    waiting.code = "print('hello')"
    workers = Workers([Place("cpu0", None, 1)], {}, log_path)
    workers._children[0].process.wait()
    assert log_path.read_text() == "hello\n"
