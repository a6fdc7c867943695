"""How often each shard's task was begun without being finished: kept in the run directory."""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import StorageError
from shared.publish import write_atomically
from shared.run import Run

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Attempts:
    """The attempts at a shard that has not been published.

    Attributes:
        error: why the last one failed; "" while it runs, or where its process died.
        final: no further attempt makes sense.
    """

    shard: int
    count: int
    worker: str
    at: float
    error: str = ""
    final: bool = False

    @property
    def used_up(self) -> bool:
        """Whether no further attempt will be made, though the last one may still be going on."""
        return self.final or self.count >= MAX_ATTEMPTS


def begin_attempt(run: Run, shard: int) -> Attempts:
    """Count one more attempt, before anything can kill the process.

    Raises:
        StorageError: the run directory cannot be written.
    """
    before = read_attempts(run, shard)
    attempt = Attempts(shard, before.count + 1 if before else 1, worker_name(), time.time())
    _write(run, attempt)
    return attempt


def fail_attempt(run: Run, attempt: Attempts, error: str, final: bool = False) -> Attempts:
    """Note why an attempt failed.

    Raises:
        StorageError: the run directory cannot be written.
    """
    return _fail(run, attempt, attempt.count, error, final)


def excuse_attempt(run: Run, attempt: Attempts, error: str) -> Attempts:
    """Note trouble that is not the shard's own: the attempt does not count.

    Raises:
        StorageError: the run directory cannot be written.
    """
    return _fail(run, attempt, attempt.count - 1, error, False)


def _fail(run: Run, attempt: Attempts, count: int, error: str, final: bool) -> Attempts:
    failed = Attempts(attempt.shard, count, attempt.worker, time.time(), error, final)
    _write(run, failed)
    return failed


def forget_attempts(run: Run, shard: int) -> None:
    """Drop the count: the shard is there, or somebody asked for it anew."""
    _path(run, shard).unlink(missing_ok=True)


def read_attempts(run: Run, shard: int) -> Attempts | None:
    """Return the attempts at one shard, None where there were none."""
    return _read(_path(run, shard))


def read_all_attempts(run: Run) -> list[Attempts]:
    """Return the attempts at every shard that is not published, by shard."""
    found = [_read(path) for path in sorted(run.attempts_dir.glob("shard-*.json"))]
    return [one for one in found if one is not None]


def worker_name() -> str:
    """Return this process's name among workers: its host and process id."""
    return os.environ.get("CAMSHARD_WORKER_NAME") or f"{socket.gethostname()}-{os.getpid()}"


def _path(run: Run, shard: int) -> Path:
    return run.attempts_dir / f"shard-{shard:09d}.json"


def _read(path: Path) -> Attempts | None:
    try:
        return Attempts(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # gone, or being written: as good as no attempt


def _write(run: Run, attempt: Attempts) -> None:
    path = _path(run, attempt.shard)
    try:
        write_atomically(path, json.dumps(asdict(attempt)).encode())
    except OSError as error:
        raise StorageError(f"{path}: writing failed: {error.strerror or error}.") from error
