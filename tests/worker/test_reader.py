"""Images read by threads, in order and not too far ahead."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.errors import StorageError
from shared.images import prepare_image
from shared.locations import Url
from shared.model_spec import InputSpec
from shared.status import Status
from worker import reader
from worker.reader import ImageBatch, ImageJob, ImageReader

SPEC = InputSpec((4, 4), scale="0..1")
AHEAD = 2  # batches


def job_of(paths: list[Path | None], batch_size: int = 3) -> ImageJob:
    return ImageJob([f"id{row}" for row in range(len(paths))], paths, SPEC, 10_000, batch_size)


def row_of(path: Path) -> int:
    return int(path.stem.removeprefix("image"))


@pytest.fixture
def paths(image_dir) -> list[Path | None]:
    return [image_dir / f"image{number}.png" for number in range(7)]


@pytest.fixture
def prepare_by(monkeypatch) -> Callable[[Callable[[int], None]], None]:
    """Put something before the preparation of each image, called with its row."""

    def install(before: Callable[[int], None]) -> None:
        def prepare(path, spec, max_pixels, cache):
            before(row_of(path))
            return np.full((4, 4, 3), row_of(path), np.float32)

        monkeypatch.setattr(reader, "prepare_image", prepare)

    return install


def read(images: ImageReader, job: ImageJob) -> list[ImageBatch]:
    with images.read(job) as batches:
        return list(batches)


def wait_until_idle(images: ImageReader) -> None:
    """Wait for what was given to a reader of one thread."""
    images._pool.submit(int).result(30)


def test_batches_hold_the_images_in_order_and_zeros_below_the_last(paths):
    batches = read(ImageReader(2), job_of(paths))
    assert [batch.start for batch in batches] == [0, 3, 6]
    assert [len(batch.failures) for batch in batches] == [3, 3, 1]
    for batch in batches:
        assert batch.images.shape == (3, 4, 4, 3)
        for place in range(len(batch.failures)):
            expected = prepare_image(paths[batch.start + place], SPEC)
            assert (batch.images[place] == expected).all()
    assert (batches[2].images[1:] == 0).all()
    assert all(batch.seconds > 0 for batch in batches)


def test_the_order_holds_when_a_later_image_is_ready_first(paths, prepare_by):
    later_is_ready = threading.Event()

    def before(row: int) -> None:
        if row == 1:
            later_is_ready.set()
        elif row == 0:
            assert later_is_ready.wait(30)

    prepare_by(before)
    batches = read(ImageReader(2), job_of(paths))
    assert np.concatenate([batch.images for batch in batches])[:7, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_failure_stands_at_its_image_and_leaves_the_others_alone(paths):
    paths[1].write_bytes(b"no image")
    paths[3].unlink()
    paths[4] = None
    first, second, _ = read(ImageReader(2), job_of(paths))
    assert [failure and failure.status for failure in first.failures] == [None, Status.UNREADABLE, None]
    assert [failure and failure.status for failure in second.failures] == [
        Status.MISSING,
        Status.MISSING,
        None,
    ]
    assert (first.images[1] == 0).all() and (first.images[2] == prepare_image(paths[2], SPEC)).all()
    assert second.failures[1].reason == "id4: no file of this image was in the image folders."


def test_an_image_with_too_many_pixels_is_one_failure(paths):
    job = ImageJob(["id0"], paths[:1], SPEC, 48 * 40 - 1, 3)
    assert read(ImageReader(1), job)[0].failures[0].status == Status.TOO_LARGE


def test_a_slow_consumer_is_not_read_away_from(paths, prepare_by):
    rows: list[int] = []
    prepare_by(rows.append)
    images = ImageReader(1)
    with images.read(job_of(paths, batch_size=1)) as batches:
        wait_until_idle(images)
        assert rows == list(range(AHEAD))  # before anybody takes the first
        for taken in range(1, 5):
            next(batches)
            wait_until_idle(images)
            assert rows == list(range(taken + AHEAD))


def test_who_stops_taking_batches_stops_the_reading(paths, prepare_by):
    rows: list[int] = []
    go_on = threading.Event()

    def before(row: int) -> None:
        rows.append(row)
        assert row == 0 or go_on.wait(30)

    prepare_by(before)
    images = ImageReader(1)
    with images.read(job_of(paths, batch_size=1)) as batches:
        next(batches)
    go_on.set()
    wait_until_idle(images)
    assert rows in ([0], [0, 1])


def test_trouble_with_the_storage_is_no_failure_of_an_image(paths, tmp_path):
    paths[5] = tmp_path / "not mounted" / "image5.png"
    with ImageReader(2).read(job_of(paths)) as batches:
        assert next(batches).start == 0
        with pytest.raises(StorageError, match="the image folder is not there"):
            list(batches)


def test_a_reader_outlives_its_shards(paths):
    images = ImageReader(2)
    first, second = (read(images, job_of(paths)) for _ in range(2))
    assert (first[0].images == second[0].images).all() and first[0].images.any()


def test_images_at_urls_are_read_by_threads_of_their_own(paths, prepare_by):
    names: set[str] = set()
    prepare_by(lambda row: names.add(threading.current_thread().name.partition("_")[0]))
    images = ImageReader(1, fetching_threads=3)
    assert len(read(images, job_of(paths))) > 0
    assert names == {"reader"}
    urls = [Url("s3", f"bucket/{path.name}") for path in paths]
    batches = read(images, job_of(urls))
    assert names == {"reader", "fetcher"}
    assert batches[0].images[1, 0, 0, 0] == 1
