"""Where workers compute: GPUs, as the environment or nvidia-smi name them, or shares of the cores."""

import os

import pytest

from shared.errors import SettingsError
from shared.settings import Settings
from worker.places import Place, choose_places, visible_gpus


def test_without_gpus_the_workers_share_the_cpus(monkeypatch):
    monkeypatch.setattr("worker.places.available_cores", lambda: 8)
    assert choose_places(Settings(workers=3), []) == [Place(f"cpu{number}", None, 2) for number in range(3)]


def test_every_worker_has_a_thread_however_many_there_are(monkeypatch):
    monkeypatch.setattr("worker.places.available_cores", lambda: 2)
    assert [place.cores for place in choose_places(Settings(workers=4), [])] == [1, 1, 1, 1]


@pytest.mark.parametrize("gpus", [None, "all"])
def test_every_gpu_has_a_worker_unless_told_otherwise(gpus, monkeypatch):
    monkeypatch.setattr("worker.places.available_cores", lambda: 9)
    assert choose_places(Settings(gpus=gpus), ["0", "3"]) == [Place("gpu0", "0", 4), Place("gpu3", "3", 4)]


def test_gpus_are_chosen_by_number(monkeypatch):
    monkeypatch.setattr("worker.places.available_cores", lambda: 2)
    assert choose_places(Settings(gpus="3, 1"), ["0", "1", "3"]) == [
        Place("gpu3", "3", 1),
        Place("gpu1", "1", 1),
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
