"""Read and prepare images in threads, a bounded number of batches ahead of the model."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from shared.file_cache import FileCache
from shared.images import ImageError, prepare_image
from shared.locations import Location, Url
from shared.model_spec import InputSpec
from shared.status import Status
from worker.turns import BATCHES_AHEAD

_Prepared = tuple[np.ndarray | ImageError, float]


@dataclass(frozen=True)
class ImageBatch:
    """Consecutive images of a shard, ready for the model.

    Attributes:
        start: the first one's row in the shard.
        images: float32 (batch_size, height, width, channels); zero where an image failed, and
            below the last one.
        failures: why an image is not there, None where it is; as long as there are images.
        seconds: the threads' time for these images, added up.
    """

    start: int
    images: np.ndarray
    failures: list[ImageError | None]
    seconds: float

    @property
    def rows(self) -> slice:
        """Their rows in the shard."""
        return slice(self.start, self.start + len(self.failures))


@dataclass(frozen=True)
class ImageJob:
    """Which images to read and how.

    Attributes:
        paths: absolute paths or URLs, None where planning found no file.
    """

    image_ids: list[str]
    paths: list[Location | None]
    spec: InputSpec
    max_pixels: int
    batch_size: int


class ImageReader:
    """Threads that outlive a shard.

    Args:
        threads: how many read files.
        fetching_threads: how many read where images are at URLs; as many unless said.
        cache: where what URLs name is kept.
    """

    def __init__(self, threads: int, fetching_threads: int | None = None, cache: FileCache | None = None):
        self._pool = ThreadPoolExecutor(threads, "reader")
        self._fetching_pool = ThreadPoolExecutor(fetching_threads or threads, "fetcher")
        self._cache = cache

    @contextmanager
    def read(self, job: ImageJob) -> Iterator[Iterator[ImageBatch]]:
        """Begin to read at once; gives the batches in order. Whoever takes them slowly slows the threads.

        The iterator raises StorageError where the storage under an image failed. What is not read when the
        block ends is left unread.
        """
        fetches = any(isinstance(path, Url) for path in job.paths)
        batches = _Batches(self._fetching_pool if fetches else self._pool, job, self._cache)
        try:
            yield batches
        finally:
            batches.cancel()


class _Batches(Iterator[ImageBatch]):
    """Some batches ahead of who takes them are being read."""

    def __init__(self, pool: ThreadPoolExecutor, job: ImageJob, cache: FileCache | None):
        self._pool = pool
        self._job = job
        self._cache = cache
        self._starts = iter(range(0, len(job.paths), job.batch_size))
        self._waiting: deque[tuple[int, list[Future[_Prepared]]]] = deque()
        for _ in range(BATCHES_AHEAD):
            self._begin_next()

    def __next__(self) -> ImageBatch:
        self._begin_next()
        if not self._waiting:
            raise StopIteration
        return _collect(self._job, *self._waiting.popleft())

    def cancel(self) -> None:
        for _, futures in self._waiting:
            for future in futures:
                future.cancel()

    def _begin_next(self) -> None:
        start = next(self._starts, None)
        if start is not None:
            rows = range(start, min(start + self._job.batch_size, len(self._job.paths)))
            futures = [self._pool.submit(_prepare, self._job, row, self._cache) for row in rows]
            self._waiting.append((start, futures))


def _prepare(job: ImageJob, row: int, cache: FileCache | None) -> _Prepared:
    began = time.perf_counter()
    path = job.paths[row]
    try:
        if path is None:
            raise ImageError(
                Status.MISSING, f"{job.image_ids[row]}: no file of this image was in the image folders."
            )
        return prepare_image(path, job.spec, job.max_pixels, cache), time.perf_counter() - began
    except ImageError as error:
        return error, time.perf_counter() - began


def _collect(job: ImageJob, start: int, futures: list[Future[_Prepared]]) -> ImageBatch:
    images = np.zeros((job.batch_size, *job.spec.size, job.spec.channels), np.float32)
    failures: list[ImageError | None] = []
    seconds = 0.0
    for place, future in enumerate(futures):
        prepared, took = future.result()
        seconds += took
        failures.append(prepared if isinstance(prepared, ImageError) else None)
        if not isinstance(prepared, ImageError):
            images[place] = prepared
    return ImageBatch(start, images, failures, seconds)
