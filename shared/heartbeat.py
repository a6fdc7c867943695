"""One small JSON file a worker: when it was last seen, and what it works on."""

import json
import os
import threading
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

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
        """Whether it was seen lately."""
        return time.time() - self.at < ALIVE_S


class Heart:
    """Beats every second from a thread of its own while a worker is at a shard, whatever takes its time.

    Used as a context manager. A beat that cannot be written is no reason to stop working.

    Attributes:
        rows_done: rows of the shard that are computed, as the next beat tells.
    """

    def __init__(self, run: Run, worker: str, shard: int):
        self._path = run.heartbeats_dir / f"{worker}.json"
        self._worker = worker
        self._shard = shard
        self.rows_done = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._beat()

    def _beat_on(self) -> None:
        while not self._stopped.wait(_INTERVAL_S):
            self._beat()

    def _beat(self) -> None:
        beat = Beat(self._worker, time.time(), self._shard, self.rows_done)
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(asdict(beat)))
            os.replace(temporary, self._path)
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
