"""Read → predict and explain → write: one shard, on one screen."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from shared.locations import Location, parse_location
from shared.messages import ShardTask
from shared.records import Records
from shared.run import Run
from shared.shard import ShardWriter, Timings
from worker.adapter import Adapter
from worker.explained import Explained
from worker.reader import ImageBatch, ImageJob, ImageReader
from worker.rows import label_targets, rows_of
from worker.turns import Turn

_WRITES_AHEAD = 2


class Explain(Protocol):
    """A model, compiled for batches of one size: `worker.explain.Explainer`."""

    batch_size: int

    def __call__(self, inputs: tuple[np.ndarray, ...], label_targets: np.ndarray) -> Explained:
        """Explain a batch."""


@dataclass(frozen=True)
class Engine:
    """What a worker keeps between shards: the compiled model and the reading threads."""

    explainer: Explain
    adapter: Adapter | None
    reader: ImageReader
    here: Callable[[Location], Location]  # a path or URL of the run → where this machine has it


@dataclass(frozen=True)
class Made:
    """A shard that was made.

    Attributes:
        published: whether it is the one that was published; another may have been first.
        rows_failed: rows whose status is not ok.
    """

    published: bool
    rows_failed: int
    timings: Timings


class _Clock:
    """Seconds of the thread that calls the model, by what it did."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._started_at = time.time()
        self._first_batch_at = 0.0

    @contextmanager
    def counting(self, activity: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._seconds[activity] += time.perf_counter() - began

    def count_batch(self, reading_s: float) -> None:
        self._first_batch_at = self._first_batch_at or time.time()
        self._seconds["reading"] += reading_s

    def timings(self) -> Timings:
        seconds = self._seconds
        return Timings(
            seconds_reading=seconds["reading"],
            seconds_computing=seconds["computing"],
            started_at=self._started_at,
            first_batch_at=self._first_batch_at,
            seconds_waiting_for_images=seconds["waiting for images"],
            seconds_waiting_for_writing=seconds["waiting for writing"],
        )


def make_shard(
    run: Run, task: ShardTask, records: Records, engine: Engine, turn: Turn, on_rows: Callable[[int], None]
) -> Made:
    """Read, explain and write the records of one shard, all three at once, and publish it.

    Reading begins before the model is free, and what is left to write is written after others have it.

    Args:
        turn: this shard's place among those of the worker.
        on_rows: called with the number of rows computed so far, after every batch.

    Raises:
        StorageError: images or results are out of reach; nothing was published.
        DeviceMemoryError: the batches are too large for the device; nothing was published.
    """
    clock = _Clock()
    job = _image_job(run, records, engine)
    targets = label_targets(records.labels, run.request.targets.ranks)
    with (
        engine.reader.read(job) as batches,
        ShardWriter(run, task.shard, records, task.revision) as shard,
        _Writes(shard, clock) as writes,
    ):
        with turn.model:
            while batch := _next(batches, clock):
                with clock.counting("computing"):
                    inputs = _inputs(engine, batch, records)
                    explained = engine.explainer(inputs, _padded(targets[batch.rows], job.batch_size, -1))
                clock.count_batch(batch.seconds)
                writes.add(batch, explained)
                on_rows(batch.rows.stop)
                turn.computed()
        writes.finish()
        timings = clock.timings()
        published = shard.publish(timings)
        return Made(published, shard.rows_failed, timings)


class _Writes:
    """Writes rows in a thread of their own, in order; who adds more than it can take waits."""

    def __init__(self, shard: ShardWriter, clock: _Clock):
        self._shard = shard
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "writer")
        self._waiting: deque[Future[None]] = deque()

    def add(self, batch: ImageBatch, explained: Explained) -> None:
        self._waiting.append(self._thread.submit(self._write, batch, explained))
        if len(self._waiting) > _WRITES_AHEAD:
            with self._clock.counting("waiting for writing"):
                self._waiting.popleft().result()

    def finish(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> "_Writes":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _write(self, batch: ImageBatch, explained: Explained) -> None:
        self._shard.write(batch.start, rows_of(batch, explained))


def _next(batches: Iterator[ImageBatch], clock: _Clock) -> ImageBatch | None:
    with clock.counting("waiting for images"):
        return next(batches, None)


def _image_job(run: Run, records: Records, engine: Engine) -> ImageJob:
    paths = [path if path is None else engine.here(parse_location(path)) for path in records.image_paths]
    return ImageJob(
        image_ids=records.image_ids,
        paths=paths,
        spec=run.spec.input,
        max_pixels=run.images.max_pixels,
        batch_size=engine.explainer.batch_size,
    )


def _inputs(engine: Engine, batch: ImageBatch, records: Records) -> tuple[np.ndarray, ...]:
    if engine.adapter is None:
        return (batch.images,)
    size = len(batch.images)
    made = engine.adapter(batch.images[: len(batch.failures)], records.frame(batch.rows))
    return tuple(_padded(array, size, 0) for array in made)


def _padded(values: np.ndarray, size: int, fill: int) -> np.ndarray:
    missing = size - len(values)
    return np.pad(values, ((0, missing), *[(0, 0)] * (values.ndim - 1)), constant_values=fill)
