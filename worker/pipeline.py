"""Read → predict and explain → write: one shard, on one screen."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.messages import ShardTask
from shared.records import Records
from shared.run import Run
from shared.shard import ShardWriter, Timings
from worker.adapter import Adapter
from worker.explain import Explainer
from worker.reader import ImageBatch, ImageJob, ImageReader
from worker.rows import label_targets, rows_of

_WRITES_AHEAD = 2


@dataclass(frozen=True)
class Engine:
    """What a worker keeps between shards: the compiled model and the reading threads."""

    explainer: Explainer
    adapter: Adapter | None
    reader: ImageReader
    here: Callable[[Path], Path]  # a path of the run → where this machine has it


def make_shard(
    run: Run, task: ShardTask, records: Records, engine: Engine, on_rows: Callable[[int], None]
) -> bool:
    """Read, explain and write the records of one shard, all three at once, and publish it.

    Args:
        on_rows: called with the number of rows computed so far, after every batch.

    Returns:
        Whether this shard is the one that was published; another may have been first.

    Raises:
        StorageError: images or results are out of reach; nothing was published.
    """
    started_at, first_batch_at = time.time(), 0.0
    seconds_reading = seconds_computing = 0.0
    job = _image_job(run, records, engine)
    targets = label_targets(records.labels, run.request.targets.ranks)
    writes: deque[Future[None]] = deque()
    with (
        ShardWriter(run, task.shard, records, task.revision) as shard,
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        for batch in engine.reader.batches(job):
            began = time.perf_counter()
            inputs = _inputs(engine, batch, records)
            explained = engine.explainer(inputs, _padded(targets[batch.rows], job.batch_size, -1))
            seconds_computing += time.perf_counter() - began
            first_batch_at = first_batch_at or time.time()
            seconds_reading += batch.seconds
            writes.append(writer.submit(shard.write, batch.start, rows_of(batch, explained)))
            if len(writes) > _WRITES_AHEAD:
                writes.popleft().result()
            on_rows(batch.start + len(batch.failures))
        for write in writes:
            write.result()
        return shard.publish(Timings(seconds_reading, seconds_computing, started_at, first_batch_at))


def _image_job(run: Run, records: Records, engine: Engine) -> ImageJob:
    return ImageJob(
        image_ids=records.image_ids,
        paths=[engine.here(Path(path)) if path is not None else None for path in records.image_paths],
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
