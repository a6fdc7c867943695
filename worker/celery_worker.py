"""A Celery worker that makes shards, keeps its messages, beats, and logs as asked."""

import logging
from collections.abc import Callable
from functools import partial

from celery import Celery
from celery.signals import after_setup_logger, worker_init
from celery.worker import state
from kombu.transport.redis import Channel

import worker.tasks
from shared.attempts import worker_name
from shared.broker import DEFAULT_URL, make_app, renew_deliveries
from shared.broker_server import broker_url
from shared.errors import MissingExtraError
from shared.settings import Settings
from worker.heart import this_heart
from worker.json_log import json_formatter
from worker.lease import Leases
from worker.session import Session


def make_worker_app(
    settings: Settings, session: Callable[[], Session], prepare: Callable[[], None]
) -> Celery:
    """Return the app of such a worker; one a process, since Celery's signals are.

    Args:
        session: opens the session, with the first message.
        prepare: called before any message is taken; a MissingExtraError ends the worker.
    """
    app = make_app(broker_url(settings) or DEFAULT_URL)
    worker.tasks.register(app, session)
    leases = Leases(held_deliveries, partial(renew_deliveries, app))
    Channel.do_restore = False  # leases do it; kombu's own would end a worker that has lost its broker

    def begin(**_: object) -> None:
        try:
            prepare()
        except MissingExtraError as error:
            raise SystemExit(f"error: {error}") from error
        this_heart().deliveries = held_deliveries
        leases.start()

    def log_as_asked(logger: logging.Logger, **_: object) -> None:
        logging.getLogger("worker").setLevel(logging.INFO)
        if settings.log_format == "json":
            for handler in logger.handlers:
                handler.setFormatter(json_formatter(worker_name()))

    worker_init.connect(begin, weak=False)
    after_setup_logger.connect(log_as_asked, weak=False)
    return app


def held_deliveries() -> tuple[str, ...]:
    """Return the broker's tags of the messages at work, about to be, and waiting here to be tried again.

    Celery drops those that wait when it has lost the broker: then others shall have them.
    """
    while True:
        try:
            requests = {*state.reserved_requests, *state.active_requests, *state.scheduled_requests}
        except RuntimeError:  # one came meanwhile
            continue
        return tuple(request.message.delivery_tag for request in requests)
