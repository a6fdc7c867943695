"""The Dockerfile: pinned, layered so that code comes last, without root, and with what the extras ask for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CODE = {"camshard", "producer", "worker", "shared"}
TARGETS = ("cpu", "gpu")


class Stage(NamedTuple):
    """A stage: what it starts from, and its instructions (name, rest of the line)."""

    base: str
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [rest for one, rest in self.instructions if one == name]


def read_stages() -> dict[str, Stage]:
    """Return the stages by name, lines that go on joined and comments left out."""
    stages: dict[str, Stage] = {}
    lines = [line for line in TEXT.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, stage = rest.split()
            stages[stage] = Stage(base, [])
        elif name and stages:
            list(stages.values())[-1].instructions.append((name, " ".join(rest.split())))
    return stages


STAGES = read_stages()


def sources(copy: str) -> list[str]:
    """Return what a COPY takes from the context; nothing where it takes from a stage."""
    return [] if "--from" in copy else copy.split()[:-1]


def ancestry(name: str) -> list[Stage]:
    """Return a stage and those that it is built on."""
    stage = STAGES[name]
    return [stage, *(ancestry(stage.base) if stage.base in STAGES else [])]


def test_there_is_one_base_image_pinned_to_a_python_that_camshard_runs_on() -> None:
    (default,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    python = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-bookworm", default)
    assert python
    assert python[1] in ("3.11", "3.12", "3.13"), PROJECT["requires-python"]
    assert {stage.base for stage in STAGES.values()} - set(STAGES) == {"${BASE_IMAGE}"}


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_user_by_number_who_is_not_root(target: str) -> None:
    name, user = STAGES[target].instructions[-1]
    assert name == "USER"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "by number, so that Kubernetes sees it is not root"


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_of_code_installs_no_dependency_anew(target: str) -> None:
    (environment,) = [one for one in STAGES[target].all("COPY") if "--from=with-" in one]
    assert environment == f"--from=with-{target} /opt/camshard /opt/camshard"
    for stage in ancestry(f"with-{target}"):
        assert [one for copy in stage.all("COPY") for one in sources(copy)] in ([], ["constraints.txt"])
    (install,) = STAGES[target].all("RUN")
    assert "from=package" in install
    assert "--no-deps" in install
    assert "--no-index" in install


def test_an_edit_of_pyproject_that_leaves_the_requirements_alone_installs_nothing_anew() -> None:
    assert STAGES["requirements"].all("COPY") == ["pyproject.toml deploy/requirements.py ./"]
    taken = [copy for name in ("common", "with-cpu", "with-gpu") for copy in STAGES[name].all("COPY")]
    assert [copy.split()[1] for copy in taken if "--from=requirements" in copy] == [
        "/build/common.txt", "/build/cpu.txt", "/build/gpu.txt",
    ]  # fmt: skip


def test_the_lists_of_requirements_are_those_of_the_extras(tmp_path: Path) -> None:
    (command,) = STAGES["requirements"].all("RUN")
    for name in ("pyproject.toml", "deploy/requirements.py"):
        (tmp_path / Path(name).name).write_text((ROOT / name).read_text())
    subprocess.run(["sh", "-ec", command.replace("python3", sys.executable)], cwd=tmp_path, check=True)
    extras = PROJECT["optional-dependencies"]
    common = [extras[name] for name in ("local", "report", "xarray", "remote", "monitor")]
    expected = {
        "common": [*PROJECT["dependencies"], *(line for lines in common for line in lines)],
        "cpu": extras["cpu"],
        "gpu": extras["gpu"],
    }
    assert {name: (tmp_path / f"{name}.txt").read_text().splitlines() for name in expected} == expected


def test_what_the_images_install_is_pinned() -> None:
    extras = PROJECT["optional-dependencies"]
    chosen = ("local", "report", "xarray", "remote", "monitor", *TARGETS)
    asked = [*PROJECT["dependencies"], *(line for name in chosen for line in extras[name])]
    names = {re.split(r"[\[<>=;\s]", line)[0].lower() for line in asked}
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert names <= {pin.split("==")[0].lower() for pin in pins}


def test_the_package_is_built_from_all_of_its_code() -> None:
    taken = [one for copy in STAGES["package"].all("COPY") for one in sources(copy)]
    assert set(taken) == CODE | {"pyproject.toml", "README.md", "LICENSE"}


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    copied = {one for stage in STAGES.values() for copy in stage.all("COPY") for one in sources(copy)}
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert [line for line in lines[1:] if not line.startswith("!")] == ["**/__pycache__"]


def test_every_installation_heeds_the_constraints_and_can_be_handed_a_configuration_of_pip() -> None:
    runs = [run for stage in STAGES.values() for run in stage.all("RUN") if "pip " in run]
    reaching_out = [run for run in runs if "--no-index" not in run]
    assert len(reaching_out) == 4
    assert all("--mount=type=secret,id=pip.conf,target=/etc/pip.conf" in run for run in reaching_out)
    assert all("--constraint constraints.txt" in run for run in reaching_out if "pip install" in run)


def test_no_host_is_named() -> None:
    assert "://" not in TEXT
    assert "index-url" not in TEXT


def test_labels_say_what_it_is() -> None:
    (label,) = STAGES["runtime"].all("LABEL")
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]*)"', label))
    assert labels["title"] == PROJECT["name"]
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert labels["base.name"] == "${BASE_IMAGE}"
    assert labels["description"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_the_command(target: str) -> None:
    stages = ancestry(target)
    assert [one for stage in stages for one in stage.all("ENTRYPOINT")] == ['["camshard"]']
    assert [one for stage in stages for one in stage.all("HEALTHCHECK")] == [], "only workers have a health"
