"""Planning, enqueueing, draining, status and resuming at a million records: python -m benchmarks.scale."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.large_set import make_image_folder, make_image_folders, make_metadata, make_model
from benchmarks.made_up_run import make_run, plan_run, write_shard
from shared.broker import QUEUE, make_app
from shared.broker_server import embedded_broker
from shared.finish import finish_run
from shared.run import Run, read_run

_DEFAULT, _SMALL = 1_024, 32  # records a shard
Figures = dict[str, dict[str, float]]


def measure_scale(folder: Path, num_records: int) -> Figures:
    """Return seconds and peak memory of each step, each taken in a process of its own."""
    folder.mkdir()
    flags: dict[str, Any] = {
        "metadata": str(make_metadata(folder / "metadata.csv", num_records)),
        "model": str(make_model(folder / "model.keras")),
        "scale": "0..1",
    }
    flat = make_image_folder(folder / "flat", num_records)
    nested = make_image_folders(folder / "nested", num_records)
    figures: Figures = {}
    for shard_size, images in ((_DEFAULT, flat), (_DEFAULT, nested), (_SMALL, nested)):
        name = f"{images.name}_{shard_size}"
        case = flags | {"images": [str(images)], "shard_size": shard_size, "out": str(folder / f"run_{name}")}
        figures |= _measure_enqueueing(name, case)
    for shard_size in (_DEFAULT, _SMALL):
        figures |= _measure_draining(folder / f"run_nested_{shard_size}", shard_size)
        figures |= _measure_status(folder / f"status_{shard_size}", num_records, shard_size)
    return figures


def _measure_enqueueing(name: str, flags: dict[str, Any]) -> Figures:
    """Plan, write and fill the window; then again, with a part of the shards there."""
    figures = {}
    for step in ("enqueue", "resume"):
        with embedded_broker() as url:
            figures[f"{step}_{name}"] = _take("enqueue", json.dumps(flags | {"broker": url}))
            figures[f"{step}_{name}"] |= _broker_figures(url)
        run = read_run(Path(flags["out"]))
        if step == "enqueue":
            _pretend_shards(run, run.num_shards // 2)
    _say(figures)
    for folder in (run.dir / "shards").iterdir():
        shutil.rmtree(folder)
    return figures


def _pretend_shards(run: Run, number: int) -> None:
    """Leave files of shards' names: who looks for what is missing reads no more."""
    for shard in range(number):
        run.shard_path(shard).parent.mkdir(parents=True, exist_ok=True)
        run.shard_path(shard).touch()


def _measure_draining(run_dir: Path, shard_size: int) -> Figures:
    """Let a worker that does nothing take all tasks of a run, one window after the other."""
    with embedded_broker() as url, _idle_worker(url) as worker:
        before = _cpu_s(worker.pid)
        found = _take("drain", str(run_dir), url) | _broker_figures(url)
        found["worker_cpu_s"] = _cpu_s(worker.pid) - before
        worker.terminate()
        assert worker.stdout is not None
        done = int(worker.stdout.read().split()[-1])
    if done != found["tasks"]:
        raise RuntimeError(f"{found['tasks']} tasks were published, and {done} done")
    figures = {f"drain_{shard_size}": found, f"task_records_{shard_size}": _take("records", str(run_dir))}
    _say(figures)
    return figures


@contextmanager
def _idle_worker(url: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.idle_worker"]
    env = os.environ | {"CAMSHARD_BROKER": url}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            worker.stdout.readline()  # it is ready
            yield worker
        finally:
            worker.kill()


def _measure_status(run_dir: Path, num_records: int, shard_size: int) -> Figures:
    """Ask for the status of a run with all shards, without and with its table, and of one that lacks one."""
    make = make_run if shard_size == _DEFAULT else _copy_run
    run = make(run_dir, num_records, shard_size)
    figures = {f"status_without_table_{shard_size}": _take("status", str(run_dir))}
    began = time.perf_counter()
    finish_run(run)
    figures[f"finish_{shard_size}"] = {"whole_s": time.perf_counter() - began}
    figures[f"status_{shard_size}"] = _take("status", str(run_dir))
    run.shard_path(run.num_shards // 2).unlink()
    figures[f"status_one_missing_{shard_size}"] = _take("status", str(run_dir))
    _say(figures)
    return figures


def _copy_run(run_dir: Path, num_records: int, shard_size: int) -> Run:
    """Make up a run whose shards are copies of one, but for the last: as good to count, and sooner there."""
    run, rng = plan_run(run_dir, num_records, shard_size), np.random.default_rng(6)
    for shard in {0, run.num_shards - 1}:
        write_shard(run, shard, rng)
    for shard in range(1, run.num_shards - 1):
        run.shard_path(shard).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.shard_path(0), run.shard_path(shard))
    return run


def _take(step: str, *arguments: str) -> dict[str, float]:
    """Take a step in a process; `whole_s` is its time from start to end, imports and all."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.scale_steps", step, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    whole_s = time.perf_counter() - began
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {"whole_s": whole_s} | found


def _cpu_s(pid: int) -> float:
    return sum(psutil.Process(pid).cpu_times()[:2])


def _broker_figures(url: str) -> dict[str, float]:
    """Return the most memory that the broker had in use, its append-only file, and the size of a message."""
    with make_app(url).connection_for_read() as connection:
        client = connection.default_channel.client
        info = client.info()
        message = client.lindex(QUEUE, 0)
    return {
        "broker_peak_mb": info["used_memory_peak"] / 1e6,
        "broker_file_mb": info["aof_current_size"] / 1e6,
        **({"message_kb": len(message) / 1e3} if message else {}),
    }


def _say(figures: Figures) -> None:
    for name, found in figures.items():
        print(f"{name}:", ", ".join(f"{what} {value:.4g}" for what, value in found.items()), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="camshard-bench-") as temporary:
        measure_scale(Path(temporary) / "scale", int(os.environ.get("CAMSHARD_BENCH_RECORDS", "1000000")))
