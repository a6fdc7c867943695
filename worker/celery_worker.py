"""A Celery worker that makes shards, keeps its messages, beats, and logs as asked."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery
from celery.signals import after_setup_logger, task_received, worker_init

import worker.tasks
from shared.attempts import worker_name
from shared.broker import DEFAULT_URL, make_app, renew_deliveries
from shared.broker_server import read_broker_file
from shared.errors import MissingExtraError
from shared.settings import Settings
from worker.heart import this_heart
from worker.json_log import json_formatter
from worker.lease import Leases
from worker.session import Session

_FILE_WAIT_S = 60.0


def make_worker_app(
    settings: Settings, session: Callable[[], Session], prepare: Callable[[], None]
) -> Celery:
    """Return the app of such a worker; one a process, since Celery's signals are.

    Args:
        session: opens the session, with the first message.
        prepare: called before any message is taken; a MissingExtraError ends the worker.
    """
    named = read_broker_file(settings.broker_file, _FILE_WAIT_S) if settings.broker_file else DEFAULT_URL
    app = make_app(settings.broker or named)
    worker.tasks.register(app, session)
    leases = Leases(partial(renew_deliveries, app))

    def begin(**_: object) -> None:
        try:
            prepare()
        except MissingExtraError as error:
            raise SystemExit(f"error: {error}") from error
        this_heart().deliveries = leases.held
        leases.start()

    def hold(request: Any, **_: object) -> None:
        leases.hold(request.message.delivery_tag)

    def log_as_asked(logger: logging.Logger, **_: object) -> None:
        logging.getLogger("worker").setLevel(logging.INFO)
        if settings.log_format == "json":
            for handler in logger.handlers:
                handler.setFormatter(json_formatter(worker_name()))

    worker_init.connect(begin, weak=False)
    task_received.connect(hold, weak=False)  # be it at work at once, or waiting to be tried again
    after_setup_logger.connect(log_as_asked, weak=False)
    return app
