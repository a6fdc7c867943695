"""The Celery app's connection side: publish, look, renew, give back."""

import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url, parse_url
from redis.exceptions import RedisError

from shared.errors import BrokerError
from shared.messages import ShardTask, task_to_message

QUEUE = "camshard"
TASK_NAME = "camshard.explain_shard"
DEFAULT_URL = "redis://localhost:6379/0"
VISIBILITY_TIMEOUT_S = 30  # of a message that no worker renews (worker/lease.py)
_SWEEP_EVERY_S = 5
_CONNECT_TIMEOUT_S = 5.0
_HEALTH_CHECK_S = 10
_ANSWER_TIMEOUT_S = 10.0  # where packets vanish, TCP would wait for minutes (docs/many-hosts.md)


def make_app(broker_url: str) -> Celery:
    """Return the Celery app that producers publish with and workers consume with."""
    app = Celery("camshard", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        task_acks_late=True,
        task_track_started=True,
        task_send_sent_event=True,
        worker_send_task_events=True,
        worker_pool="worker.pool:ShardPool",
        worker_prefetch_multiplier=64,  # no limit of its own: the pool says how many messages are taken
        worker_disable_prefetch=True,
        worker_enable_prefetch_count_reduction=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": _SWEEP_EVERY_S,
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_timeout": _ANSWER_TIMEOUT_S,
            "health_check_interval": _HEALTH_CHECK_S,
        },
    )
    return app


def without_password(broker_url: str) -> str:
    """Return the URL as it may be shown: the password as **."""
    try:
        return str(maybe_sanitize_url(broker_url))
    except ValueError:  # what follows the host is no port: often a password that is not percent-encoded
        return f"{broker_url.partition('://')[0]}://**"


def check_broker(app: Celery) -> None:
    """Connect once.

    Raises:
        BrokerError: nobody answers, or no Redis.
    """
    url = str(app.conf.broker_url)
    if not url.startswith(("redis://", "rediss://", "redis+socket://")):
        raise BrokerError(
            f"broker {without_password(url)}: a Redis URL is wanted: redis://, rediss:// or redis+socket://."
        )
    _check_url(url)
    try:
        with app.connection_for_write(connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            connection.ensure_connection(max_retries=1, timeout=_CONNECT_TIMEOUT_S)
            connection.default_channel.client.ping()
    except (OperationalError, OSError, RedisError, ValueError, TypeError) as error:
        raise BrokerError(
            f"broker {without_password(url)}: not reachable: {_first_line(error)}. Start one "
            "(`redis-server --appendonly yes`, or `docker compose up redis`), name another with "
            "--broker, or use `camshard run`, which brings its own."
        ) from error


def answers(broker_url: str) -> bool:
    """Tell whether a broker is there and lets us in."""
    try:
        check_broker(make_app(broker_url))
    except BrokerError:
        return False
    return True


def _check_url(url: str) -> None:
    try:
        parse_url(url)
    except (ValueError, TypeError, KeyError):  # a wrong port; a host, or a wrong option, after the ?
        # its text may hold a part of the password
        raise BrokerError(
            f"broker {without_password(url)}: no URL like redis://user:password@host:6379/0. "
            "Characters such as / # @ in a password are written as %2F %23 %40; host and password stand "
            "before the ? alone, and ssl_cert_reqs after it is required, optional or none."
        ) from None


def publish_tasks(app: Celery, tasks: list[ShardTask]) -> None:
    """Put shard tasks into the queue over one connection.

    Raises:
        BrokerError: the broker went away; some of the tasks may be in the queue.
    """
    try:
        with app.producer_or_acquire() as producer:
            for task in tasks:
                app.send_task(
                    TASK_NAME,
                    args=[task_to_message(task)],
                    headers={"enqueued_at": time.time()},
                    producer=producer,
                    argsrepr=f"run {task.run_id}, shard {task.shard}, {len(task.image_ids)} images",
                )
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerError(
            f"broker {without_password(str(app.conf.broker_url))}: publishing failed: {_first_line(error)}."
        ) from error


class Queue(NamedTuple):
    """How many tasks, of all runs, wait in the queue, and how many workers hold unacknowledged."""

    waiting: int
    held: int


def look_at_queue(app: Celery) -> Queue:
    """Ask the broker for the tasks it knows of.

    Raises:
        BrokerError: the broker cannot be asked.
    """
    with _channel(app) as channel:
        return Queue(int(channel.client.llen(QUEUE)), int(channel.client.zcard(channel.unacked_index_key)))


class QueueAge(NamedTuple):
    """The queue, and how long the task that is next has waited in it, in seconds; 0 if none waits."""

    waiting: int
    held: int
    oldest_s: float


def look_at_queue_age(app: Celery) -> QueueAge:
    """Ask the broker for the tasks it knows of, and when the next one was enqueued.

    Raises:
        BrokerError: the broker cannot be asked.
    """
    with _channel(app) as channel:
        pipe = channel.client.pipeline(transaction=False)
        pipe.llen(QUEUE).zcard(channel.unacked_index_key).lindex(QUEUE, -1)
        waiting, held, message = pipe.execute()
        return QueueAge(int(waiting), int(held), _age_s(message))


def _age_s(message: bytes | None) -> float:
    """Return how old a message is by the header that `publish_tasks` gives it; 0 for others' messages."""
    try:
        enqueued_at = json.loads(message or b"{}")["headers"]["enqueued_at"]
        return max(0.0, time.time() - float(enqueued_at))
    except (ValueError, KeyError, TypeError):
        return 0.0


def renew_deliveries(app: Celery, tags: Collection[str]) -> None:
    """Put off the time when the broker gives messages to others; what it no longer knows stays unknown.

    Raises:
        BrokerError: the broker cannot be reached.
    """
    with _channel(app) as channel:
        pipe = channel.client.pipeline(transaction=False)
        now = time.time()
        for tag in tags:
            pipe.zadd(channel.unacked_index_key, {tag: now}, xx=True)
        pipe.execute()


def give_back(app: Celery, tags: Collection[str]) -> None:
    """Put messages that a worker held, and will not finish, into the queue, to be taken next.

    Raises:
        BrokerError: the broker cannot be reached.
    """
    with _channel(app) as channel:
        for tag in tags:
            channel.qos.restore_by_tag(tag)


@contextmanager
def _channel(app: Celery) -> Iterator[Any]:
    try:
        with app.connection_for_write(connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            yield connection.default_channel
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerError(
            f"broker {without_password(str(app.conf.broker_url))}: not reachable: {_first_line(error)}."
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
