"""One worker process per GPU, or some that share the CPUs, supervised."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.child_process import start_child, stop_child
from shared.errors import SettingsError
from shared.settings import TOLD_ALL, Settings

_RESTART_WAIT_S = 2.0
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Place:
    """Where one worker computes: a GPU by number, or CPUs (gpu None) with `threads` of its own."""

    name: str
    gpu: str | None
    threads: int


@dataclass
class _Child:
    place: Place
    process: subprocess.Popen[bytes]
    restarts: int = 0
    not_before: float = field(default=0.0)


class Workers:
    """Celery workers on this machine, started again when they end by themselves."""

    def __init__(self, places: list[Place], environment: dict[str, str], log_path: Path | None = None):
        self._environment = environment
        self._log_path = log_path
        self._children = [_Child(place, self._start(place)) for place in places]

    def supervise(self) -> None:
        """Start again what has ended, with growing waits; call it about every second."""
        for child in self._children:
            if child.process.poll() is None:
                continue
            if not child.not_before:
                wait_s = min(_RESTART_WAIT_S * 2**child.restarts, _LONGEST_WAIT_S)
                child.not_before = time.monotonic() + wait_s
            elif time.monotonic() >= child.not_before:
                child.restarts += 1
                child.not_before = 0.0
                child.process = self._start(child.place)

    def alive(self) -> bool:
        """Tell whether any worker still runs."""
        return any(child.process.poll() is None for child in self._children)

    def drain(self) -> None:
        """Ask the workers to finish the shard they are at and end (Celery's warm shutdown)."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End all workers at once; unfinished shards are made again later."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGQUIT)
        for child in self._children:
            stop_child(child.process, signal.SIGQUIT, timeout_s=5)

    def _start(self, place: Place) -> subprocess.Popen[bytes]:
        output = self._log_path.open("ab") if self._log_path else None
        try:
            command = [sys.executable, "-P", "-m", "worker", "--hostname", f"{_name(place)}@%h"]
            env = _environment_without_settings() | self._environment | _environment_of(place)
            return start_child(command, env, output.fileno() if output else None)
        finally:
            if output:
                output.close()


@contextmanager
def local_workers(
    settings: Settings, broker_url: str, runs_root: Path, log_path: Path | None
) -> Iterator[Workers]:
    """Run workers on this machine for as long as the block lasts."""
    environment = worker_environment(settings, broker_url, runs_root)
    workers = Workers(choose_places(settings, visible_gpus()), environment, log_path)
    try:
        yield workers
    finally:
        workers.stop()


def worker_environment(settings: Settings, broker_url: str, runs_root: Path) -> dict[str, str]:
    """Return all settings that a worker heeds, as environment; passwords do not show in `ps` there."""
    environment = {
        TOLD_ALL: "1",
        "CAMSHARD_BROKER": broker_url,
        "CAMSHARD_RUNS_ROOT": str(runs_root),
        "CAMSHARD_TRUST_MODEL": str(int(settings.trust_model)),
    }
    for name in ("batch_size", "read_threads"):
        value = getattr(settings, name)
        if value is not None:
            environment[f"CAMSHARD_{name.upper()}"] = str(value)
    if settings.map:
        environment["CAMSHARD_MAP"] = ",".join(settings.map)
    return environment


def choose_places(settings: Settings, gpus: list[str]) -> list[Place]:
    """Spread workers over the GPUs asked for, or over the CPUs.

    Raises:
        SettingsError: a GPU is asked for that is not seen.
    """
    asked = settings.gpus or ("all" if gpus else "none")
    if asked == "none":
        threads = max(1, (os.cpu_count() or 1) // settings.workers)
        return [Place(f"cpu{number}", None, threads) for number in range(settings.workers)]
    wanted = gpus if asked == "all" else [one.strip() for one in asked.split(",")]
    if not wanted or set(wanted) - set(gpus):
        raise SettingsError(
            f"--gpus {asked}: seen here: {', '.join(gpus) or 'no GPU'}. `camshard doctor` looks closer; "
            "--gpus none computes on CPUs."
        )
    return [Place(f"gpu{number}", number, 0) for number in wanted]


def visible_gpus() -> list[str]:
    """Return the numbers of the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves, without loading TensorFlow."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [one.strip() for one in visible.split(",") if one.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def _name(place: Place) -> str:
    """Return a name that no other launcher on this machine gives."""
    return f"{place.name}-{os.getpid()}"


def _environment_without_settings() -> dict[str, str]:
    """Return our environment for a worker, whose settings are those that we were asked for."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CAMSHARD_")}


def _environment_of(place: Place) -> dict[str, str]:
    environment = {"CAMSHARD_WORKER_NAME": f"{_name(place)}-{socket.gethostname()}"}
    if place.gpu is not None:
        return environment | {"CUDA_VISIBLE_DEVICES": place.gpu}
    threads = str(place.threads)
    return environment | {
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_NUM_INTRAOP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
    }
