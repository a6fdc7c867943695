"""Holes of a run: shards that are missing and that nobody works on."""

import time

from celery import Celery

from producer.enqueue import Enqueuer, missing_shards
from producer.progress import Progress
from shared.broker import Queue, look_at_queue
from shared.heartbeat import ALIVE_S
from shared.run import Run

_PAUSE_S = 2.0


class HoleFiller:
    """Publishes lost shards again.

    A shard is lost when nothing waits in the queue, no live worker is at it, and either no worker holds a
    task for a while, or those that do have been silent as long as it takes to call them dead. Doing a shard
    twice does no harm: the first to publish wins.

    Attributes:
        vain: how often shards were published again since the last new one appeared.
    """

    def __init__(self, app: Celery, run: Run, enqueuer: Enqueuer):
        self._app = app
        self._run = run
        self._enqueuer = enqueuer
        self._shards_done = 0
        self._quiet_since: float | None = None
        self.vain = 0

    def fill(self, progress: Progress) -> None:
        """Publish what is lost now.

        Raises:
            BrokerError: the broker cannot be asked.
        """
        if progress.shards_done > self._shards_done:
            self._shards_done, self.vain = progress.shards_done, 0
        queue = look_at_queue(self._app) if self._enqueuer.exhausted else None
        lost = self._lost(progress) if queue and queue.waiting == 0 else []
        if queue is None or not lost:
            self._quiet_since = None
        elif self._is_quiet(queue):
            self._quiet_since = time.monotonic()
            self.vain += 1
            self._enqueuer.start(lost)

    def _lost(self, progress: Progress) -> list[int]:
        taken = {one.shard for one in progress.given_up} | {
            shard for beat in progress.workers for shard in beat.shards
        }
        return [shard for shard in missing_shards(self._run) if shard not in taken]

    def _is_quiet(self, queue: Queue) -> bool:
        self._quiet_since = self._quiet_since or time.monotonic()
        patience_s = ALIVE_S if queue.held else _PAUSE_S
        return time.monotonic() - self._quiet_since >= patience_s
