"""The heart of a worker process: a thread that says every second what the worker is at."""

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from shared.attempts import worker_name
from shared.heartbeat import Beat, WorkerState, make_states_dir, write_beat, write_state
from shared.run import Run
from shared.shard import Timings

_INTERVAL_S = 1.0
_RUNS_REMEMBERED = 8


class Work:
    """One shard at work.

    Attributes:
        rows_done: rows that are computed, as the next beat tells.
    """

    def __init__(self, run: Run, shard: int):
        self.run = run
        self.shard = shard
        self.rows_done = 0


class Heart:
    """Beats from a thread of its own, whatever takes its time; counts what the worker has done.

    Args:
        deliveries: returns the broker's tags of the messages that the worker holds.
    """

    def __init__(self, worker: str, folder: Path, deliveries: Callable[[], tuple[str, ...]] = tuple):
        self._worker = worker
        self._folder = folder
        self.deliveries = deliveries
        self._started_at = time.time()
        self._lock = threading.RLock()
        self._writing = threading.Lock()  # the file of a run is written by one thread at a time
        self._works: list[Work] = []
        self._runs: deque[str] = deque(maxlen=_RUNS_REMEMBERED)
        self._counts: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to beat, until the process ends."""
        threading.Thread(target=self._beat_on, name="heart", daemon=True).start()

    @contextmanager
    def working(self, run: Run, shard: int) -> Iterator[Work]:
        """Say that a shard is at work, for as long as the block lasts; a beat begins and ends it."""
        work = Work(run, shard)
        with self._lock:
            self._works.append(work)
            if str(run.dir) in self._runs:
                self._runs.remove(str(run.dir))
            self._runs.append(str(run.dir))
        try:
            self._beat_in(run)
            yield work
        except BaseException:
            self._count(shards_failed=1)
            raise
        finally:
            with self._lock:
                self._works.remove(work)
            self._beat_in(run)

    def count(self, rows: int, rows_failed: int, timings: Timings) -> None:
        """Count a shard that was made."""
        self._count(shards_done=1, images_done=rows, images_failed=rows_failed)
        with self._lock:
            for name, value in _seconds_of(timings):
                self._seconds[name] += value

    def state(self) -> WorkerState:
        """Return what the worker says of itself now."""
        with self._lock:
            return WorkerState(
                self._worker,
                os.getpid(),
                self._started_at,
                time.time(),
                **self._counts,
                seconds=dict(self._seconds),
                run_dirs=tuple(self._runs),
                deliveries=self.deliveries(),
            )

    def beat(self) -> None:
        """Say it now."""
        with self._lock:
            runs = {work.run.dir: work.run for work in self._works}
        for run in runs.values():
            self._beat_in(run)
        write_state(self._folder, self.state())

    def _beat_in(self, run: Run) -> None:
        with self._writing:
            with self._lock:
                shards = {work.shard: work.rows_done for work in self._works if work.run.dir == run.dir}
            write_beat(run, Beat(self._worker, time.time(), shards))

    def _count(self, **numbers: int) -> None:
        with self._lock:
            self._counts.update(numbers)

    def _beat_on(self) -> None:
        while True:
            self.beat()
            time.sleep(_INTERVAL_S)


@cache
def this_heart() -> Heart:
    """Return the one heart of this process, beating."""
    heart = Heart(worker_name(), make_states_dir())
    heart.start()
    return heart


def _seconds_of(timings: Timings) -> Iterator[tuple[str, Any]]:
    for one in fields(timings):
        if one.name.startswith("seconds_"):
            yield one.name.removeprefix("seconds_"), getattr(timings, one.name)
