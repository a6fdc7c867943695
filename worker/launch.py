"""One worker process per place, supervised: started again when it ends, and all of them ended together."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.broker import give_back, make_app
from shared.child_process import is_alive, start_child, stop_child
from shared.errors import BrokerError
from shared.heartbeat import WorkerState, make_states_dir, read_states
from shared.settings import TOLD_ALL, Settings
from worker.places import Place, choose_places, visible_gpus

_RESTART_WAIT_S = 2.0
_LONGEST_WAIT_S = 60.0
_GOOD_LIFE_S = 120.0  # who has lived so long is started again at once
_HANDED_ON = ("batch_size", "read_threads", "log_format", "cache_dir", "cache_size")


@dataclass
class _Child:
    """A worker's process, and when it may be started again once it has ended (monotonic seconds)."""

    place: Place
    name: str
    process: subprocess.Popen[bytes]
    started_at: float
    restarts: int = 0
    not_before: float | None = None


class Workers:
    """Celery workers on this machine, started again when they end by themselves.

    Args:
        environment: what they are told, as `worker_environment` makes it.
        folder: where they report.
    """

    def __init__(
        self, places: list[Place], environment: dict[str, str], folder: Path, log_path: Path | None = None
    ):
        self._environment = environment
        self._folder = folder
        self._log_path = log_path
        self._token = secrets.token_hex(3)  # containers of one host may have the same process ids
        self._children = [self._start(place) for place in places]

    def supervise(self) -> None:
        """Start again what has ended, with growing waits; call it about every second."""
        for number, child in enumerate(self._children):
            if child.process.poll() is None:
                continue
            if child.not_before is None:
                self._note_end(child)
            elif time.monotonic() >= child.not_before:
                self._children[number] = self._start(child.place, child.restarts + 1)

    def states(self) -> list[WorkerState]:
        """Return what each of these workers last said of itself."""
        names = {child.name for child in self._children}
        return [state for state in read_states(self._folder) if state.worker in names]

    def alive(self) -> bool:
        """Tell whether any worker still runs."""
        return any(child.process.poll() is None for child in self._children)

    def finish(self, grace_s: float) -> None:
        """Let the workers finish the shards they are at, and end (Celery's warm shutdown), for a while."""
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)

    def stop(self) -> None:
        """End all workers at once; the messages they hold go back to the queue."""
        for child in self._children:
            stop_child(child.process, signal.SIGKILL, timeout_s=5)
        self._give_back([child.name for child in self._children])
        for child in self._children:
            (self._folder / f"{child.name}.json").unlink(missing_ok=True)

    def _note_end(self, child: _Child) -> None:
        """Free what a worker that has died held, and set when it is started again."""
        lived_s = time.monotonic() - child.started_at
        child.restarts = 0 if lived_s > _GOOD_LIFE_S else child.restarts
        wait_s = min(_RESTART_WAIT_S * 2**child.restarts, _LONGEST_WAIT_S)
        child.not_before = time.monotonic() + wait_s
        print(
            f"worker {child.name} has ended ({_how(child.process.returncode)}) and is started again in "
            f"{wait_s:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        self._give_back([child.name])
        (self._folder / f"{child.name}.json").unlink(missing_ok=True)  # or it would be given back twice

    def _give_back(self, names: list[str]) -> None:
        """Hand on the messages of workers that are gone, rather than wait until the broker does."""
        states = {state.worker: state for state in read_states(self._folder)}
        tags = [tag for name in names if name in states for tag in states[name].deliveries]
        if tags:
            with suppress(BrokerError):  # then their time runs out
                give_back(make_app(self._environment["CAMSHARD_BROKER"]), tags)

    def _start(self, place: Place, restarts: int = 0) -> _Child:
        name = f"{place.name}-{self._token}-{socket.gethostname()}"
        output = self._log_path.open("ab") if self._log_path else None
        try:
            command = [sys.executable, "-P", "-m", "worker", "--hostname", f"{place.name}-{self._token}@%h"]
            told = {"CAMSHARD_WORKER_NAME": name, "CAMSHARD_STATES": str(self._folder)}
            env = _environment_without_settings() | self._environment | place.environment | told
            process = start_child(command, env, output.fileno() if output else None)
            return _Child(place, name, process, time.monotonic(), restarts)
        finally:
            if output:
                output.close()


@contextmanager
def local_workers(
    settings: Settings, broker_url: str, runs_root: Path, log_path: Path | None
) -> Iterator[Workers]:
    """Run workers on this machine for as long as the block lasts.

    Raises:
        SettingsError: a GPU is asked for that is not seen.
    """
    places = choose_places(settings, visible_gpus())
    environment = worker_environment(settings, broker_url, runs_root)
    workers = Workers(places, environment, _own_states_dir(), log_path)
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
    for name in _HANDED_ON:
        value = getattr(settings, name)
        if value is not None:
            environment[f"CAMSHARD_{name.upper()}"] = str(value)
    if settings.map:
        environment["CAMSHARD_MAP"] = ",".join(settings.map)
    return environment


def _own_states_dir() -> Path:
    """Return this user's folder of reports, without those of workers that are gone."""
    folder = make_states_dir()
    for state in read_states(folder):
        if not (is_alive(state.pid) and state.alive):  # in a container, process ids come again
            (folder / f"{state.worker}.json").unlink(missing_ok=True)
    return folder


def _how(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _environment_without_settings() -> dict[str, str]:
    """Return our environment for a worker, whose settings are those that we were asked for."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CAMSHARD_")}
