"""docker-compose.yml as the tests read it: its variables filled in, or as Docker Compose itself reads it."""

import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docker-compose.yml"
ONCE = {"producer"}  # runs to its end; all others stay
SECRET = "s3cret-of-the-tests"
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^${}]*))?\}")

Spoil = Callable[[dict[str, Any]], object]
SPOILT: dict[str, Spoil] = {
    "a misspelt key": lambda services: services["redis"].update(helthcheck={}),
    "a misspelt key further in": lambda services: services["worker"]["healthcheck"].update(intervall="5s"),
    "no duration": lambda services: services["redis"]["healthcheck"].update(interval="5 parsecs"),
    "no condition": lambda services: services["worker"]["depends_on"]["redis"].update(condition="well"),
    "no port": lambda services: services["redis"].update(ports=["a:b:c:d"]),
    "a device of no kind": lambda services: services["worker-gpu"]["deploy"]["resources"]["reservations"][
        "devices"
    ][0].pop("capabilities"),
}


def filled_in(**variables: str) -> dict[str, Any]:
    """Return the compose file with its variables replaced, innermost first, and its anchors resolved."""
    text = PATH.read_text()
    while _VARIABLE.search(text):
        text = _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2] or "", text)
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def check(document: dict[str, Any]) -> None:
    """Hold a compose document against the Compose specification.

    Raises:
        ValueError: it does not hold.
    """
    from compose_spec import PyCompose

    PyCompose.from_json(json.dumps(document)).validate()


@functools.cache
def compose_program() -> tuple[str, ...] | None:
    """Return the command of Docker Compose 2, None where there is none."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]):
            done = subprocess.run(
                [*command, "version", "--short"], capture_output=True, text=True, check=False
            )
            if done.returncode == 0 and int(done.stdout.strip().lstrip("v").split(".")[0]) >= 2:
                return command
    return None


def compose_config(path: Path, *services: str, **variables: str) -> tuple[dict[str, Any] | None, str]:
    """Let Compose itself read a file; returns what it makes of it, for these services, and what it says."""
    command = [*(compose_program() or ()), "--file", str(path), "--profile", "*"]
    if services:
        command = command[:-2]  # naming a service is enough, and starts no other
    done = subprocess.run(
        [*command, "config", "--format", "json", *services],
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return (json.loads(done.stdout) if done.returncode == 0 else None), done.stderr
