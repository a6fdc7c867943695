"""One small JSON file a worker: when it was last seen, and what it works on."""

import json
import os
import time
from dataclasses import asdict, dataclass

from shared.run import Run

_INTERVAL_S = 1.0
ALIVE_S = 30.0


@dataclass(frozen=True)
class Beat:
    """What a worker last said of itself; `at` is Unix time."""

    worker: str
    at: float
    shard: int
    rows_done: int

    @property
    def alive(self) -> bool:
        """Whether it was seen lately; a worker is silent while a model compiles."""
        return time.time() - self.at < ALIVE_S


class Heart:
    """Writes a worker's beats, at most one a second."""

    def __init__(self, run: Run, worker: str):
        self._run = run
        self._worker = worker
        self._last = 0.0

    def beat(self, shard: int, rows_done: int) -> None:
        """Say what the worker does; a failure to write is no reason to stop working."""
        if time.monotonic() - self._last < _INTERVAL_S:
            return
        self._last = time.monotonic()
        path = self._run.heartbeats_dir / f"{self._worker}.json"
        temporary = path.with_suffix(".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(Beat(self._worker, time.time(), shard, rows_done))))
            os.replace(temporary, path)
        except OSError:
            pass


def read_beats(run: Run) -> list[Beat]:
    """Return the last beat of every worker that ever worked on the run."""
    beats = []
    for path in sorted(run.heartbeats_dir.glob("*.json")):
        try:
            beats.append(Beat(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue  # being replaced: it beats again within a second
    return beats
