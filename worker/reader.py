"""Read and prepare images in threads, a bounded number of batches ahead of the model."""

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.images import ImageError, prepare_image
from shared.model_spec import InputSpec
from shared.status import Status

_BATCHES_AHEAD = 2


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
        paths: absolute paths, None where planning found no file.
    """

    image_ids: list[str]
    paths: list[Path | None]
    spec: InputSpec
    max_pixels: int
    batch_size: int


class ImageReader:
    """Threads that outlive a shard."""

    def __init__(self, threads: int | None = None):
        self._pool = ThreadPoolExecutor(threads or min(8, (os.cpu_count() or 1) + 2), "reader")

    def batches(self, job: ImageJob) -> Iterator[ImageBatch]:
        """Yield the images in order; whoever takes them slowly slows the threads.

        Raises:
            StorageError: the storage under an image failed.
        """
        waiting: deque[tuple[int, list[Future[tuple[np.ndarray | ImageError, float]]]]] = deque()
        starts = range(0, len(job.paths), job.batch_size)
        try:
            for start in starts:
                rows = range(start, min(start + job.batch_size, len(job.paths)))
                waiting.append((start, [self._pool.submit(_prepare, job, row) for row in rows]))
                if len(waiting) > _BATCHES_AHEAD:
                    yield _collect(job, *waiting.popleft())
            while waiting:
                yield _collect(job, *waiting.popleft())
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _prepare(job: ImageJob, row: int) -> tuple[np.ndarray | ImageError, float]:
    began = time.perf_counter()
    path = job.paths[row]
    try:
        if path is None:
            raise ImageError(
                Status.MISSING, f"{job.image_ids[row]}: no file of this image was in the image folders."
            )
        return prepare_image(path, job.spec, job.max_pixels), time.perf_counter() - began
    except ImageError as error:
        return error, time.perf_counter() - began


def _collect(
    job: ImageJob, start: int, futures: list[Future[tuple[np.ndarray | ImageError, float]]]
) -> ImageBatch:
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
