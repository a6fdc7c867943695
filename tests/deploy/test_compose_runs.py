"""docker-compose.yml as programs take it: Docker Compose itself, and a server by the broker's command."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_files import PATH, SECRET, SPOILT, compose_config, compose_program, filled_in
from redis import Redis
from redis.exceptions import AuthenticationError

from shared.child_process import start_child, stop_child


@pytest.fixture(scope="module")
def compose() -> None:
    """Skip where Docker Compose, which is not on PyPI as such, is not installed."""
    if compose_program() is None:
        pytest.skip(
            "Docker Compose 2 is not installed; tests/deploy/test_compose.py holds the file to its schema"
        )


@pytest.mark.system
def test_compose_itself_accepts_the_file(compose: None) -> None:
    config, said = compose_config(PATH)
    assert config is not None, said
    assert said == "", "no variable is missing"
    assert set(config["services"]) == set(filled_in()["services"])


@pytest.mark.system
@pytest.mark.parametrize("what", SPOILT)
def test_compose_itself_refuses(tmp_path: Path, compose: None, what: str) -> None:
    document = filled_in()
    SPOILT[what](document["services"])
    path = tmp_path / "docker-compose.yml"
    path.write_text(yaml.safe_dump(document))
    config, said = compose_config(path)
    assert config is None
    assert said


@pytest.mark.system
def test_a_worker_machine_starts_no_broker(compose: None) -> None:
    url = "redis://:other@10.0.0.1:6379/0"
    config, said = compose_config(PATH, "worker-gpu", CAMSHARD_BROKER=url)
    assert config is not None, said
    assert list(config["services"]) == ["worker-gpu"]
    assert config["services"]["worker-gpu"]["environment"]["CAMSHARD_BROKER"] == url


@pytest.mark.system
def test_a_worker_beside_the_broker_waits_for_it(compose: None) -> None:
    config, said = compose_config(PATH, "redis", "worker", CAMSHARD_REDIS_PASSWORD=SECRET)
    assert config is not None, said
    assert config["services"]["worker"]["depends_on"]["redis"]["condition"] == "service_healthy"


@pytest.mark.system
def test_settings_of_a_machine_reach_its_workers(tmp_path: Path, compose: None) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text(PATH.read_text())
    (tmp_path / "camshard.env").write_text("CAMSHARD_MAP=/shared=/data\nCAMSHARD_BROKER=redis://wrong/0\n")
    config, said = compose_config(path, "worker", CAMSHARD_WORKERS="3", CAMSHARD_REDIS_PASSWORD=SECRET)
    assert config is not None, said
    worker = config["services"]["worker"]
    assert worker["environment"]["CAMSHARD_MAP"] == "/shared=/data"
    assert worker["environment"]["CAMSHARD_BROKER"] == f"redis://:{SECRET}@redis:6379/0"
    assert worker["command"][:5] == ["worker", "--gpus", "none", "--workers", "3"]


@pytest.fixture(scope="module")
def redis_server() -> None:
    """Skip where redis-server and redis-cli are not installed."""
    if not (shutil.which("redis-server") and shutil.which("redis-cli")):
        if os.environ.get("CAMSHARD_CI"):
            pytest.fail("redis-server is not installed: .ci/run does it")
        pytest.skip("redis-server is not installed")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def broker_command(folder: Path, port: int) -> list[str]:
    """Return the redis service's command with its folders and its port moved to those of a test."""
    *shell, script = filled_in()["services"]["redis"]["command"]
    script = script.replace("$$", "$").replace("/tmp/redis.conf", str(folder / "redis.conf"))
    return [*shell, script.replace("--dir /data", f"--dir {folder} --bind 127.0.0.1 --port {port}")]


@pytest.mark.system
@pytest.mark.service
def test_the_broker_keeps_its_queue_refuses_strangers_and_shows_no_password(
    tmp_path: Path, redis_server: None
) -> None:
    port = free_port()
    env = os.environ | {"REDISCLI_AUTH": SECRET}
    process = start_child(broker_command(tmp_path, port), env)
    try:
        check_health = filled_in()["services"]["redis"]["healthcheck"]["test"][1]
        check_health = check_health.replace("redis-cli", f"redis-cli -p {port}")
        healthy = f"until {check_health}; do kill -0 {process.pid} || exit 1; done"
        subprocess.run(["sh", "-c", healthy], env=env, check=True, timeout=20)
        strange = subprocess.run(["sh", "-c", check_health], env=env | {"REDISCLI_AUTH": "no"}, check=False)
        assert strange.returncode != 0, "health is told by a ping that is let in"
        with pytest.raises(AuthenticationError):
            Redis(port=port).ping()
        client = Redis(port=port, password=SECRET, decode_responses=True)
        assert client.config_get("appendonly", "maxmemory-policy", "save") == {
            "appendonly": "yes", "maxmemory-policy": "noeviction", "save": "",
        }  # fmt: skip
        assert SECRET not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0
    finally:
        stop_child(process, signal.SIGTERM, timeout_s=10)


@pytest.mark.system
def test_the_broker_does_not_start_without_a_password(tmp_path: Path, redis_server: None) -> None:
    done = subprocess.run(
        broker_command(tmp_path, 0),
        env=os.environ | {"REDISCLI_AUTH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "set CAMSHARD_REDIS_PASSWORD in .env" in done.stderr
