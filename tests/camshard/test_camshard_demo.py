"""What the demo asks for and refuses; end_to_end/ makes a whole one."""

import os
from pathlib import Path

import pytest

from camshard import demo
from shared.errors import CamshardError
from shared.settings import Settings, load_settings
from worker import launch


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/demo"])
def test_a_demo_folder_that_cannot_be_written_is_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.setattr(demo, "require_tensorflow", lambda: None)
    Path("file").touch()
    with pytest.raises(CamshardError, match=f"{out}: the demo cannot be written there: .*--out"):
        demo.make_demo(Path(out), images=7)


def test_the_demo_is_the_same_whatever_the_user_has_set(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {"metadata": Path("t.csv"), "images": (Path("i"),), "model": Path("m.keras"), "out": Path("r")}
    flags = paths | {"methods": "cam,gradcam", "layers": "stages", "targets": "all"}
    of_flags_alone = load_settings(flags)
    Path("camshard.toml").write_text('where = ["dx=mel"]\nlimit = 3\n')
    monkeypatch.setenv("CAMSHARD_BROKER", "redis://elsewhere/0")
    assert demo._settings(Path("t.csv"), Path("i"), Path("m.keras"), Path("r")) == of_flags_alone


def test_the_demos_workers_heed_nothing_that_the_user_has_set(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("camshard.toml").write_text('batch_size = 1\nread_threads = 1\nmap = ["/a=/b"]\n')
    for name, value in (("BATCH_SIZE", "2"), ("READ_THREADS", "2"), ("MAP", "/c=/d"), ("TRUST_MODEL", "1")):
        monkeypatch.setenv(f"CAMSHARD_{name}", value)
    started: list[dict[str, str]] = []
    monkeypatch.setattr(launch, "start_child", lambda command, env, stdout: started.append(env))
    settings = demo._settings(Path("t.csv"), Path("i"), Path("m.keras"), Path("r"))
    told = launch.worker_environment(settings, "redis://", Path())
    launch.Workers([launch.Place("cpu0", None, 1)], told, Path("states"))
    assert _settings_in(started[0]) == Settings.model_construct(broker="redis://", runs_root=Path())


def _settings_in(environment: dict[str, str]) -> Settings:
    """Return the settings of a process with this environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CAMSHARD_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        return load_settings({})
