import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

import camshard.cli
from shared.settings import Settings, flag_of

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "camshard", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_importing_camshard_producer_and_shared_loads_no_tensorflow() -> None:
    code = (
        "import sys, camshard, producer, shared, camshard.cli, producer.plan, shared.shard; "
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['camshard', '--help']\n"
        "from camshard.cli import main\n"
        "try: main()\n"
        "except SystemExit: print([n for n in ('pandas', 'h5py', 'cv2', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_stands_in_the_readme() -> None:
    commands = get_command(camshard.cli.app).commands  # type: ignore[attr-defined]
    readme = (ROOT / "README.md").read_text()
    documented = set(re.findall(r"^\| `camshard (\w+)", readme, re.MULTILINE))
    assert documented == set(commands)
    assert all(command.help for command in commands.values())


def test_every_setting_is_a_flag_of_some_command() -> None:
    commands = get_command(camshard.cli.app).commands.values()  # type: ignore[attr-defined]
    flags = {flag for command in commands for option in command.params for flag in option.opts}
    assert {flag_of(name) for name in Settings.model_fields} - flags == set()


def test_a_wrong_flag_is_a_usage_error() -> None:
    done = run("run", "--metdata", "x.csv")
    assert done.returncode == 2
    assert "--metadata" in done.stderr


def test_a_missing_option_is_named(tmp_path: Path) -> None:
    done = run("run", "--metadata", "x.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "--images is wanted" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_is_one_line_and_a_traceback_only_under_debug(tmp_path: Path) -> None:
    arguments = ["run", "--metadata", "x.csv", "--images", ".", "--model", "m.keras"]
    plain, debug = run(*arguments, cwd=tmp_path), run("--debug", *arguments, cwd=tmp_path)
    assert plain.returncode == 1
    assert plain.stderr.startswith("error: x.csv: the metadata CSV cannot be read")
    assert len(plain.stderr.splitlines()) == 1
    assert "Traceback" in debug.stderr


@pytest.mark.parametrize("command", ["run", "enqueue"])
def test_a_dry_run_prints_the_plan_its_notices_and_what_is_wrong_with_out(
    tmp_path: Path, make_images: Callable[..., Path], write_model: Callable[..., Path], command: str
) -> None:
    metadata = tmp_path / "set.csv"
    metadata.write_text("image_id,dx\na,bkl\nb,mel\nc,nv\n")
    plan = ["--metadata", metadata, "--images", make_images(tmp_path / "images", "ab")]
    plan += ["--model", write_model(), "--scale", "0..1", "--dry-run"]
    fine, refused = (run(command, *plan, "--out", out, cwd=tmp_path) for out in ("new", metadata))
    assert (fine.returncode, refused.returncode) == (0, 1)
    assert "notice: 1 records have no image file and become rows with status 1 (missing): c" in fine.stderr
    assert "missing images  1" in fine.stdout
    assert f"error: {metadata}: the run directory cannot be written: Not a directory" in refused.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("given", "lacking"), [("--metadata", "--images"), ("--images", "--metadata")])
def test_inspect_wants_labels_and_images_together(tmp_path: Path, given: str, lacking: str) -> None:
    done = run("inspect", "m.keras", given, "x", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {given} without {lacking}: ")


@pytest.mark.parametrize("flag", ["--limit=3", "--group-column=patient", "--skip-missing"])
def test_inspect_does_not_offer_what_it_has_no_use_for(tmp_path: Path, flag: str) -> None:
    done = run("inspect", "m.keras", flag, cwd=tmp_path)
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_an_unreachable_broker_is_named_without_its_password(tmp_path: Path) -> None:
    done = run("worker", "--broker", "redis://me:secret@127.0.0.1:1/0", cwd=tmp_path)
    assert done.returncode == 1
    assert "redis://me:**@127.0.0.1:1/0" in done.stderr
    assert "redis-server" in done.stderr
    assert "secret" not in done.stderr


def test_a_broker_that_is_nowhere_named_is_asked_for(tmp_path: Path) -> None:
    done = run("worker", cwd=tmp_path)
    assert done.returncode == 1
    assert "CAMSHARD_BROKER" in done.stderr


@pytest.mark.parametrize("name", ["shared", "worker", "producer"])
def test_a_foreign_package_that_hides_ours_is_named(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name / "__init__.py"
    foreign.parent.mkdir()
    foreign.write_text("")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    script = tmp_path / "camshard"
    script.write_text("from camshard.cli import main\nmain()\n")
    for arguments in (["-P", "-m", "camshard", "--help"], ["-P", str(script), "--help"]):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert done.stderr.startswith(f"error: {foreign.resolve()}: a foreign package named {name!r}")
    command = [sys.executable, "-P", "-c", "import camshard"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert f"ImportError: {foreign.resolve()}: a foreign package" in done.stderr, "notebooks live on"


def test_status_of_no_run_says_so(tmp_path: Path) -> None:
    done = run("status", tmp_path)
    assert done.returncode == 1
    assert "no run directory" in done.stderr


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"camshard \d+\.\d+\.\d+\n", run("--version").stdout)


def test_doctor_prints_what_is_here(tmp_path: Path) -> None:
    done = run("doctor", "--broker", "redis://me:secret@127.0.0.1:1/0", cwd=tmp_path)
    assert done.returncode == 1, "the broker does not answer"
    lines = {line[6:].split()[0]: line[:4] for line in done.stdout.splitlines()}
    assert (lines["Python"], lines["packages"], lines["broker"]) == ("ok  ", "ok  ", "LACK")
    assert "secret" not in done.stdout


def test_every_option_has_a_help_text() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
