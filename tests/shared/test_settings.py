"""Flag, environment, camshard.toml, default: in this order of weight."""

import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import SettingsError
from shared.settings import flag_of, load_settings

pytestmark = pytest.mark.usefixtures("elsewhere")


def test_a_flag_outweighs_the_environment_and_that_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings({"window": None}).window == 500
    Path("camshard.toml").write_text("window = 1\n")
    assert load_settings({"window": None}).window == 1
    monkeypatch.setenv("CAMSHARD_WINDOW", "2")
    assert load_settings({"window": None}).window == 2
    assert load_settings({"window": 3}).window == 3


def test_a_flag_can_switch_off_what_the_file_switches_on() -> None:
    Path("camshard.toml").write_text("skip_missing = true\n")
    assert load_settings({"skip_missing": None}).skip_missing is True
    assert load_settings({"skip_missing": False}).skip_missing is False


def test_lists_are_split_wherever_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings({"classes": "mel, nv,"}).classes == ("mel", "nv")
    monkeypatch.setenv("CAMSHARD_CLASSES", "a,b")
    assert load_settings({}).classes == ("a", "b")
    monkeypatch.delenv("CAMSHARD_CLASSES")
    Path("camshard.toml").write_text('classes = ["x", "y"]\nsize = [224, 112]\ntargets = ["x"]\n')
    settings = load_settings({})
    assert (settings.classes, settings.size, settings.targets) == (("x", "y"), "224,112", "x")


def test_image_folders_of_flags_are_not_split_at_commas() -> None:
    assert load_settings({"images": [Path("a,b"), Path("c")]}).images == (Path("a,b"), Path("c"))


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSHARD_LIMIT", "")
    monkeypatch.setenv("CAMSHARD_CLASSES", "")
    assert (load_settings({}).limit, load_settings({}).classes) == (None, ())


def test_variables_that_are_no_option_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMSHARD_WORKER_NAME", "gpu-3")
    assert load_settings({}).workers == 1


def test_a_worker_that_was_told_all_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("camshard.toml").write_text("batch_size = 1\nread_threads = 3\n")
    monkeypatch.setenv("CAMSHARD_BATCH_SIZE", "8")
    monkeypatch.setenv("CAMSHARD_TOLD_ALL", "1")
    assert (load_settings({}).batch_size, load_settings({}).read_threads) == (8, None)


def test_an_unknown_key_of_the_file_is_named() -> None:
    Path("camshard.toml").write_text("shard_sise = 10\n")
    with pytest.raises(SettingsError, match=r"camshard\.toml: 'shard_sise' is no option"):
        load_settings({})


def test_a_file_that_is_no_toml_is_named() -> None:
    Path("camshard.toml").write_text("limit =\n")
    with pytest.raises(SettingsError, match=r"^camshard\.toml: "):
        load_settings({})


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"limit": 0}, "--limit: .*greater than or equal to 1.*received 0"),
        ({"shard_size": "many"}, "--shard-size: .*integer.*received 'many'"),
        ({"keep_duplicates": "last"}, "--keep-duplicates: .*received 'last'"),
    ],
)
def test_a_value_that_is_not_allowed_is_shown_with_its_flag(flags: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        load_settings(flags)


def test_a_wrong_broker_is_not_shown_since_it_may_hold_a_password() -> None:
    Path("camshard.toml").write_text('broker = ["redis://:SECRET@host"]\n')
    with pytest.raises(SettingsError, match="--broker: .*valid string, received a value that") as caught:
        load_settings({})
    shown_under_debug = "".join(traceback.format_exception(caught.value))
    assert "ValidationError" in shown_under_debug
    assert "SECRET" not in shown_under_debug


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings({}).limit = 5


def test_a_field_has_its_flag() -> None:
    assert flag_of("shard_size") == "--shard-size"
