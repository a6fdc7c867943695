"""Message → pipeline → ack; nothing else."""

import logging
from collections.abc import Callable
from typing import Any

from celery import Celery, Task

from shared.attempts import (
    Attempts,
    begin_attempt,
    excuse_attempt,
    fail_attempt,
    forget_attempts,
    read_attempts,
)
from shared.broker import TASK_NAME
from shared.errors import CamshardError, OutOfReachError, StorageError
from shared.finish import finish_run
from shared.messages import ShardTask, task_from_message
from shared.run import Run
from worker.session import Session

log = logging.getLogger(__name__)
_MAX_RETRIES = 30
_LONGEST_STORAGE_WAIT_S = 60  # so half an hour of trouble
_LONGEST_REACH_WAIT_S = 8  # another worker may be free at once


def register(app: Celery, session: Callable[[], Session]) -> None:
    """Add the task to a worker's app; the session is opened with the first message."""

    def explain_shard(self: Task, message: dict[str, Any]) -> str:
        try:
            task = task_from_message(message)
            return _make(session(), task)
        except (StorageError, OutOfReachError) as error:
            raise _later(self, task, error) from error

    app.task(explain_shard, name=TASK_NAME, bind=True, max_retries=_MAX_RETRIES, shared=False)


def _later(self: Task, task: ShardTask, error: CamshardError) -> Exception:
    """Send the message back with growing waits.

    Trouble with the storage, and a run out of this worker's reach, pass, or another worker takes it. Any
    other trouble would come again: it ends the task, and the run directory has the reason.
    """
    log.warning(
        "run %s, shard %d: tried again later: %s", task.run_id, task.shard, error,
        extra={"run": task.run_id, "shard": task.shard},
    )  # fmt: skip
    longest_s = _LONGEST_STORAGE_WAIT_S if isinstance(error, StorageError) else _LONGEST_REACH_WAIT_S
    wait_s = min(2 ** (self.request.retries + 1), longest_s)
    return self.retry(countdown=wait_s, exc=error)  # type: ignore[no-any-return]


def _make(session: Session, task: ShardTask) -> str:
    """Make one shard unless it is there; returning acknowledges the message."""
    run = session.find_run(task)
    if run.shard_path(task.shard, task.revision).exists():
        _finish(run, task)
        return "was there"
    before = read_attempts(run, task.shard)
    if before is not None and before.used_up:
        return "given up"
    attempt = begin_attempt(run, task.shard)
    try:
        published = session.make(run, task)
    except Exception as error:
        _note(run, attempt, error)
        raise
    forget_attempts(run, task.shard)
    _finish(run, task)
    return "published" if published else "another was first"


def _finish(run: Run, task: ShardTask) -> None:
    """Give a run whose last shard this was its table and index; after rows done again their watcher does it.

    The shards are the truth: if this fails, whoever watches the run does it, or it is done without.
    """
    try:
        if task.revision == 0:
            finish_run(run)
    except CamshardError as error:
        log.warning("run %s: table.parquet and index.h5 were not written: %s", run.run_id, error)


def _note(run: Run, attempt: Attempts, error: Exception) -> None:
    if isinstance(error, StorageError | OutOfReachError):
        excuse_attempt(run, attempt, str(error))
        return
    text = str(error) if isinstance(error, CamshardError) else f"{type(error).__name__}: {error}"
    fail_attempt(run, attempt, text, final=True)
