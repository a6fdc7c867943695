"""Shards to make → broker, in a bounded window."""

from collections.abc import Iterator
from itertools import chain, islice

from celery import Celery

from shared.attempts import forget_attempts, read_all_attempts
from shared.broker import look_at_queue, publish_tasks
from shared.errors import BrokerError
from shared.messages import ShardTask
from shared.run import Run

_BATCH = 100


class Enqueuer:
    """Publishes the shards of a run that are not there, never more at once than the window allows."""

    def __init__(self, app: Celery, run: Run, window: int):
        self._app = app
        self._run = run
        self._window = window
        self._left: Iterator[int] = iter(())
        self.exhausted = True

    def start(self, shards: list[int]) -> None:
        """Set which shards to publish, in order."""
        self._left = iter(shards)
        self.exhausted = not shards

    def fill_window(self) -> int:
        """Publish as many as there is room for; return how many.

        Raises:
            BrokerError: the broker went away.
        """
        if self.exhausted:
            return 0
        room = self._window - sum(look_at_queue(self._app))
        published = 0
        while room > published and not self.exhausted:
            batch = list(islice(self._left, min(_BATCH, room - published)))
            self.exhausted = not batch
            self._publish(batch)
            published += len(batch)
        return published

    def _publish(self, batch: list[int]) -> None:
        try:
            publish_tasks(self._app, [task_of(self._run, shard) for shard in batch])
        except BrokerError:
            self._left = chain(batch, self._left)  # a shard that is in the queue twice is made once
            raise


def task_of(run: Run, shard: int) -> ShardTask:
    """Return the task that makes a shard, with the image ids of its records."""
    return ShardTask(run.dir, run.run_id, shard, tuple(run.shard_image_ids(shard)))


def missing_shards(run: Run) -> list[int]:
    """Return the shards that are not there, in order."""
    there = run.published_shards()
    return [shard for shard in range(run.num_shards) if shard not in there]


def ask_anew(run: Run) -> list[int]:
    """Return the missing shards and forget what went wrong with them: somebody asks for them again."""
    missing = missing_shards(run)
    for one in read_all_attempts(run):
        forget_attempts(run, one.shard)
    return missing
