"""Message → pipeline → ack; nothing else."""

import logging
from typing import Any

from celery import Celery, Task

from shared.attempts import begin_attempt, fail_attempt, forget_attempts
from shared.broker import TASK_NAME
from shared.errors import CamshardError, StorageError
from shared.messages import task_from_message
from worker.process import load_tensorflow

log = logging.getLogger(__name__)
_MAX_RETRIES = 2
_RETRY_DELAY_S = 2  # after the process that worked on a task has died


def register(app: Celery) -> None:
    """Add the task to a worker's app."""
    app.task(
        explain_shard,
        name=TASK_NAME,
        bind=True,
        max_retries=_MAX_RETRIES,
        default_retry_delay=_RETRY_DELAY_S,
        retry_on_worker_lost=True,
    )


def explain_shard(self: Task, message: dict[str, Any]) -> str:
    """Make one shard unless it is there; returning acknowledges the message.

    Storage trouble is tried again after 2 and 4 seconds; any other trouble would come again, and
    ends the task. Either way the run directory has the reason.
    """
    load_tensorflow()  # into this process only
    from worker.session import this_session

    task = task_from_message(message)
    session = this_session()
    run = session.find_run(task)
    if run.shard_path(task.shard, task.revision).exists():
        return "was there"
    attempt = begin_attempt(run, task.shard)
    try:
        published = session.make(run, task)
    except StorageError as error:
        log.warning("run %s, shard %d: %s", run.run_id, task.shard, error)
        fail_attempt(run, attempt, str(error))
        raise self.retry(countdown=2**attempt.count, exc=error) from error
    except CamshardError as error:
        fail_attempt(run, attempt, str(error), final=True)
        raise
    except Exception as error:
        fail_attempt(run, attempt, f"{type(error).__name__}: {error}", final=True)
        raise
    forget_attempts(run, task.shard)
    return "published" if published else "another was first"
