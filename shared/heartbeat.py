"""What a worker says of itself every second: in the runs it works on, and in a file on its own machine."""

import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from shared.errors import SettingsError
from shared.run import Run

ALIVE_S = 30.0


@dataclass(frozen=True)
class Beat:
    """What a worker last said in a run's directory.

    Attributes:
        at: Unix time.
        shards: rows computed so far, by each shard of the run that it is at.
    """

    worker: str
    at: float
    shards: dict[int, int] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether it was seen lately."""
        return time.time() - self.at < ALIVE_S


@dataclass(frozen=True)
class WorkerState:
    """What a worker process last said on its own machine, at work or not.

    Attributes:
        started_at, at: Unix times.
        shards_done: shards it has made, whether it or another was first to publish them.
        shards_failed: tasks that ended with an error, those that are tried again among them.
        images_failed: of `images_done`, those whose status is not ok.
        seconds: by activity, of shards that it has made.
        run_dirs: the runs it has served, the latest last.
        deliveries: the broker's tags of the messages it holds.
    """

    worker: str
    pid: int
    started_at: float
    at: float
    shards_done: int = 0
    shards_failed: int = 0
    images_done: int = 0
    images_failed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    run_dirs: tuple[str, ...] = ()
    deliveries: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether it was seen lately."""
        return time.time() - self.at < ALIVE_S


def write_beat(run: Run, beat: Beat) -> None:
    """Replace a worker's beat in a run; one that cannot be written is no reason to stop working."""
    _replace(run.heartbeats_dir / f"{beat.worker}.json", asdict(beat))


def read_beats(run: Run) -> list[Beat]:
    """Return the last beat of every worker that ever worked on the run."""
    return list(_beats(run))


def write_state(folder: Path, state: WorkerState) -> None:
    """Replace a worker's state on its machine; one that cannot be written is no reason to stop working."""
    _replace(folder / f"{state.worker}.json", asdict(state))


def read_states(folder: Path) -> list[WorkerState]:
    """Return the last state of every worker that reports to a folder."""
    states = []
    for document in _documents(folder):
        try:
            state = WorkerState(**document)
            states.append(replace(state, run_dirs=tuple(state.run_dirs), deliveries=tuple(state.deliveries)))
        except TypeError:
            continue
    return states


def states_dir() -> Path:
    """Return where this user's workers on this machine report: CAMSHARD_STATES, or a folder of their own."""
    named = os.environ.get("CAMSHARD_STATES")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"camshard-workers-{os.getuid()}"


def make_states_dir() -> Path:
    """Return the folder of `states_dir`, made for its owner alone.

    Raises:
        SettingsError: others own it or may write there: they could say anything in a worker's name.
    """
    folder = states_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise SettingsError(
            f"{folder}: workers report there, and it is not a folder that user {os.getuid()} "
            "owns and alone may write to. Remove it, or name another with CAMSHARD_STATES."
        )
    return folder


def _beats(run: Run) -> Iterator[Beat]:
    for document in _documents(run.heartbeats_dir):
        try:
            shards = {int(shard): int(rows) for shard, rows in document["shards"].items()}
            yield Beat(str(document["worker"]), float(document["at"]), shards)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue


def _documents(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # being replaced: it beats again within a second
        if isinstance(document, dict):
            yield document


def _replace(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        temporary.write_text(json.dumps(document))
        os.replace(temporary, path)
    except OSError:
        pass
