"""A worker that waits instead of computing: a stand-in for a GPU; all but reading and the model is real.

`python -m benchmarks.waiting_worker` starts one.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from shared.errors import DeviceMemoryError
from shared.run import Run
from shared.settings import load_settings
from shared.shard_layout import attribution_size
from worker.celery_worker import make_worker_app
from worker.explained import Explained
from worker.heart import this_heart
from worker.path_map import parse_path_map
from worker.pipeline import Engine
from worker.reader import ImageBatch, ImageJob
from worker.session import Session

BATCH_SIZE = 32
BATCH_S = 0.050


class NoReader:
    """Gives black images at once."""

    @contextmanager
    def read(self, job: ImageJob) -> Iterator[Iterator[ImageBatch]]:
        """Give the batches that a job would have."""
        images = np.zeros((job.batch_size, *job.spec.size, job.spec.channels), np.float32)
        starts = range(0, len(job.paths), job.batch_size)
        yield (
            ImageBatch(start, images, [None] * min(job.batch_size, len(job.paths) - start), 0.0)
            for start in starts
        )


class Waiting:
    """Takes its time for a batch, and says the same of every image."""

    batch_size = BATCH_SIZE

    def __init__(self, run: Run):
        ranks, classes = run.request.targets.ranks, len(run.spec.classes)
        shape = (BATCH_SIZE, ranks)
        attributions = {
            (method, layer): np.ones((*shape, *attribution_size(run, layer)), np.float32)
            for method, layer in run.request.attributions
        }
        scores = np.ones((BATCH_SIZE, classes), np.float32)
        predictions = np.zeros(BATCH_SIZE, np.int32)
        self._explained = Explained(
            scores, scores / classes, predictions, np.zeros(shape, np.int32), attributions
        )

    def __call__(self, inputs: tuple[np.ndarray, ...], label_targets: np.ndarray) -> Explained:
        """Wait as a GPU would compute."""
        time.sleep(BATCH_S)
        return self._explained


class WaitingEngines:
    """Makes engines that wait."""

    def __init__(self) -> None:
        self._engines: dict[str, Engine] = {}

    def engine_for(self, run: Run) -> Engine:
        """Return the engine of a run."""
        if run.run_id not in self._engines:
            self._engines[run.run_id] = Engine(Waiting(run), None, NoReader(), parse_path_map(()).here)  # type: ignore[arg-type]
        return self._engines[run.run_id]

    def use_smaller_batches(self, engine: Engine, error: DeviceMemoryError) -> None:
        """There is no memory to run out of."""
        raise error


if __name__ == "__main__":
    settings = load_settings({})
    session = Session(settings, WaitingEngines(), this_heart())
    app = make_worker_app(settings, lambda: session, lambda: None)
    app.worker_main(
        ["worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle", *sys.argv[1:]]
    )
