"""Celery's pool of threads, with as many places as the shards at work leave free."""

from typing import Any

from celery.concurrency.thread import TaskPool
from kombu.asynchronous import get_event_loop

from worker.turns import MOST_SHARDS, TURNS


class ShardPool(TaskPool):
    """Runs tasks in threads of one process, which share its model and its reading threads.

    Celery takes a message from the broker only while it holds fewer tasks than `num_processes`
    (`worker_disable_prefetch`), so this number decides when the next shard is taken.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(MOST_SHARDS, *args[1:], **kwargs)
        TURNS.on_change = _look_for_messages

    @property
    def num_processes(self) -> int:
        """How many tasks may be held now."""
        return TURNS.wanted


def _look_for_messages() -> None:
    hub = get_event_loop()
    if hub is not None:
        hub.call_soon(_nothing)  # wakes the loop, which looks whether it may take a message


def _nothing() -> None:
    return None
