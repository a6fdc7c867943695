"""What the demo asks for and refuses; end_to_end/ makes a whole one."""

from pathlib import Path

import pytest

from camshard import demo
from shared.errors import CamshardError
from shared.settings import load_settings


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
