"""docs/deployment.md: its commands can be typed, its variables and metrics are all there are."""

import re
import shlex

import pytest
from compose_files import PATH as COMPOSE_PATH
from compose_files import ROOT, filled_in
from typer.main import get_command

from camshard.cli import app
from shared.broker import QueueAge
from shared.heartbeat import WorkerState
from worker.metrics import Metrics

PAGE = (ROOT / "docs" / "deployment.md").read_text()
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def typed_commands() -> list[list[str]]:
    """Return the words of every camshard command on the page, those of Compose's producer too."""
    text = PAGE.replace("\\\n", " ")
    names = "|".join(COMMANDS)
    lines = re.findall(rf"\bcamshard ((?:{names})\b[^\n`#;]*)", text)
    lines += [f"enqueue {rest}" for rest in re.findall(r"run --rm producer (--[^\n`#]*)", text)]
    return [shlex.split(line.split("  ")[0]) for line in lines]


def test_commands_are_found() -> None:
    found = {words[0] for words in typed_commands()}
    assert found >= {"run", "broker", "worker", "enqueue", "status", "doctor"}


@pytest.mark.parametrize("words", typed_commands(), ids=" ".join)
def test_a_command_has_options_that_exist(words: list[str]) -> None:
    command = COMMANDS[words[0]]
    alone = len(words) == 1
    command.make_context(words[0], words[1:], resilient_parsing=alone)


def test_every_variable_of_the_compose_file_is_explained() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE_PATH.read_text()))
    explained = {
        name
        for row in re.findall(r"^\| (`CAMSHARD_.*?) \|", PAGE, re.M)
        for name in re.findall(r"\w{3,}", row)
    }
    assert explained == used


def test_every_profile_and_its_services_are_listed() -> None:
    listed = {
        profile: set(re.findall(r"`([\w-]+)`", services.split(":")[0]))
        for profile, services in re.findall(r"^\| `(\w+)` \| (.*?) \|$", PAGE, re.M)
    }
    services = filled_in()["services"]
    for name, service in services.items():
        assert name in listed.get(service["profiles"][0], {"producer"})


def test_every_metric_is_listed() -> None:
    state = WorkerState("w", 1, 0.0, 0.0, seconds={"reading": 1.0}, run_dirs=("/runs/a",))
    families = Metrics(lambda: [state], lambda: QueueAge(1, 2, 3.0)).collect()
    served = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    table = PAGE.split("<!-- metrics: begin")[1].split("<!-- metrics: end -->")[0]
    assert set(re.findall(r"^\| `(camshard_\w+)`", table, re.M)) == served


def test_pages_and_sections_that_are_linked_are_there() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line).lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", PAGE, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in headings
        else:
            assert (ROOT / "docs" / target).is_file(), target


def test_the_images_that_are_built_are_those_that_compose_starts() -> None:
    images = {service["image"] for service in filled_in()["services"].values() if "build" in service}
    assert set(re.findall(r"camshard:\d[\w.-]+", PAGE)) <= images
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert f"`{base}`" in PAGE
