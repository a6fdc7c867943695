"""The Celery app of the workers: `celery -A worker.app worker` starts one."""

import logging
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import after_setup_logger, task_received, worker_init

import worker.tasks
from shared.attempts import worker_name
from shared.broker import DEFAULT_URL, make_app, renew_deliveries
from shared.errors import MissingExtraError
from shared.settings import load_settings
from worker.heart import this_heart
from worker.json_log import json_formatter
from worker.lease import Leases
from worker.process import load_tensorflow

_settings = load_settings({})
app: Celery = make_app(_settings.broker or DEFAULT_URL)
worker.tasks.register(app)
leases = Leases(partial(renew_deliveries, app))


@worker_init.connect
def begin(**_: object) -> None:
    """Load TensorFlow before any message is taken, and begin to beat."""
    try:
        load_tensorflow()
    except MissingExtraError as error:
        raise SystemExit(f"error: {error}") from error
    this_heart().deliveries = leases.held
    leases.start()


@task_received.connect
def hold(request: Any, **_: object) -> None:
    """Renew a message from the moment that it is here, be it at work or waiting to be tried again."""
    leases.hold(request.message.delivery_tag)


@after_setup_logger.connect
def log_as_asked(logger: logging.Logger, **_: object) -> None:
    """Write what the worker's modules say, as --log-format wants it."""
    logging.getLogger("worker").setLevel(logging.INFO)
    if _settings.log_format == "json":
        for handler in logger.handlers:
            handler.setFormatter(json_formatter(worker_name()))
