"""The Celery app of the workers: `celery -A worker.app worker` starts one."""

import logging

from celery.signals import worker_init, worker_process_init

import worker.tasks
from shared.broker import DEFAULT_URL, make_app
from shared.child_process import die_with_parent
from shared.errors import MissingExtraError
from shared.settings import load_settings
from worker.process import require_tensorflow

app = make_app(load_settings({}).broker or DEFAULT_URL)
worker.tasks.register(app)


@worker_process_init.connect
def prepare_child(**_: object) -> None:
    """Tie the child that computes to the worker that holds its connection."""
    die_with_parent()
    logging.getLogger("worker").setLevel(logging.INFO)


@worker_init.connect
def refuse_to_start_without_tensorflow(**_: object) -> None:
    """Stop the worker rather than let it take tasks that it cannot do."""
    try:
        require_tensorflow()
    except MissingExtraError as error:
        raise SystemExit(f"error: {error}") from error
