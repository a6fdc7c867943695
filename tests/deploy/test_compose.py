"""docker-compose.yml: valid, pinned, watched, without privileges, and in step with the commands."""

import re
import tomllib
from typing import Any

import pytest
import yaml
from compose_files import ONCE, ROOT, SECRET, SPOILT, check, filled_in
from typer.main import get_command

from camshard.cli import app
from shared.settings import Settings, load_settings

SERVICES = sorted(filled_in()["services"])
LASTING = [name for name in SERVICES if name not in ONCE]
OURS = [name for name in SERVICES if "camshard" in filled_in()["services"][name]["image"]]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services, with the defaults of all variables."""
    found: dict[str, Any] = filled_in()["services"]
    return found


def test_the_compose_file_holds_to_the_specification() -> None:
    check(filled_in())


@pytest.mark.parametrize("what", SPOILT)
def test_the_validator_refuses(what: str) -> None:
    document = filled_in()
    SPOILT[what](document["services"])
    with pytest.raises(ValueError):
        check(document)


def test_what_services_refer_to_is_there() -> None:
    document = filled_in()
    for service in document["services"].values():
        assert set(service.get("depends_on", ())) <= set(document["services"])
        named = [one.split(":")[0] for one in service.get("volumes", ()) if isinstance(one, str)]
        assert {name for name in named if "/" not in name} <= set(document["volumes"])
        for name in (name for name in named if name.startswith("./")):
            assert (ROOT / name).is_dir()


def test_every_service_is_started_by_a_profile_or_by_name(services: dict[str, Any]) -> None:
    profiles = {name: service["profiles"] for name, service in services.items()}
    assert profiles == {
        "redis": ["broker"],
        "worker": ["cpu"],
        "worker-gpu": ["gpu"],
        "producer": ["producer"],
        "flower": ["monitor"],
        "redis-exporter": ["monitor"],
        "prometheus": ["monitor"],
    }


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned_by_version(services: dict[str, Any], name: str) -> None:
    assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", services[name]["image"])


@pytest.mark.parametrize("name", OURS)
def test_our_images_bear_the_version_and_are_built_from_their_target(
    services: dict[str, Any], name: str
) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    target = services[name]["build"]["target"]
    assert services[name]["image"] == f"camshard:{version}-{target}"
    assert target == ("gpu" if name == "worker-gpu" else "cpu")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_privileges(services: dict[str, Any], name: str) -> None:
    user = str(services[name]["user"]).split(":")[0]
    assert user not in ("", "0", "root")
    assert services[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in services[name]["security_opt"]


@pytest.mark.parametrize("name", LASTING)
def test_lasting_services_are_watched_and_started_again(services: dict[str, Any], name: str) -> None:
    assert services[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    assert services[name]["restart"] == "unless-stopped"
    assert services[name]["logging"]["options"]["max-size"], "logs do not fill the disk"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_to_this_machine_alone_unless_told(services: dict[str, Any], name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in services[name].get("ports", ()))


def test_the_broker_is_published_where_the_machine_is_told() -> None:
    services = filled_in(CAMSHARD_REDIS_BIND="10.0.0.1", CAMSHARD_METRICS_BIND="10.0.0.2")["services"]
    assert services["redis"]["ports"] == ["10.0.0.1:6379:6379"]
    assert services["worker-gpu"]["ports"] == ["10.0.0.2:9301:9300"]


def test_the_launcher_of_gpus_gets_all_of_them(services: dict[str, Any]) -> None:
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert services["worker-gpu"]["command"][:3] == ["worker", "--gpus", "all"]


def test_workers_may_finish_their_shards_before_they_are_killed(services: dict[str, Any]) -> None:
    assert services["worker"]["stop_grace_period"] == services["worker-gpu"]["stop_grace_period"] == "2m"
    assert Settings.model_fields["grace"].default < 120


def camshard_commands() -> list[tuple[str, list[str]]]:
    """Return what the services call camshard with, healthchecks too, by service."""
    found = []
    for name in OURS:
        service = filled_in()["services"][name]
        entrypoint = service.get("entrypoint", ["camshard"])
        if entrypoint[0] == "camshard":
            found.append((name, entrypoint[1:] + service["command"]))
        test = service.get("healthcheck", {}).get("test", [])
        if test[1:2] == ["camshard"]:
            found.append((name, test[2:]))
    return found


@pytest.mark.parametrize(("service", "words"), camshard_commands())
def test_commands_have_options_that_exist(service: str, words: list[str]) -> None:
    command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    context = command.make_context(words[0], words[1:], resilient_parsing="--help" in words)
    if words[0] == "worker":
        load_settings(
            {name: value for name, value in context.params.items() if name in Settings.model_fields}
        )


def test_the_health_of_workers_is_their_heartbeat(services: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu"):
        assert services[name]["healthcheck"]["test"] == ["CMD", "camshard", "doctor", "--workers"]


@pytest.mark.parametrize("name", OURS)
def test_environments_name_settings_that_exist(services: dict[str, Any], name: str) -> None:
    names = {one.removeprefix("CAMSHARD_").lower() for one in services[name]["environment"]}
    assert names <= set(Settings.model_fields)


def test_no_password_stands_in_a_command_line() -> None:
    services = filled_in(CAMSHARD_REDIS_PASSWORD=SECRET)["services"]
    assert services["worker"]["environment"]["CAMSHARD_BROKER"] == f"redis://:{SECRET}@redis:6379/0"
    for service in services.values():
        words = [service.get("command"), service.get("entrypoint"), service.get("healthcheck")]
        assert SECRET not in str(words)


def test_a_machine_with_its_broker_elsewhere_needs_no_password_of_its_own() -> None:
    url = "rediss://:other@10.0.0.1:6380/0"
    services = filled_in(CAMSHARD_BROKER=url)["services"]
    for name in OURS:
        assert services[name]["environment"]["CAMSHARD_BROKER"] == url
        assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy", "required": False}}


def test_prometheus_asks_services_at_ports_that_they_serve(services: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "deploy" / "monitor" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (launchers,) = jobs["camshard"]["dns_sd_configs"]
    for name in launchers["names"]:
        assert services[name]["command"][services[name]["command"].index("--metrics") + 1] == (
            f"0.0.0.0:{launchers['port']}"
        )
    targets = [job["static_configs"][0]["targets"] for job in (jobs["flower"], jobs["redis"])]
    assert targets == [["flower:5555"], ["redis-exporter:9121"]]
    assert "--port=5555" in services["flower"]["command"]
    assert yaml.safe_load((ROOT / "deploy" / "monitor" / "machines.yml").read_text()) == []
