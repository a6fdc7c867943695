"""What holds for the repository as a whole."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]


def test_imports_run_one_way() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_settings_of_whoever_runs_the_tests_reach_none_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/camshard/test_cli.py", "-k", "nowhere_named"],
        cwd=ROOT,
        env=os.environ | {"CAMSHARD_BROKER": "redis://h/0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_the_command_reference_is_that_of_the_commands() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from docs.make_commands import *; print(commands_page(), end='')"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == (ROOT / "docs" / "commands.md").read_text(), "run `make docs`"


def test_the_commands_whose_options_are_flags_alone_are_named() -> None:
    source = (ROOT / "camshard" / "cli.py").read_text()
    heads = [part.split("def ", 1) for part in source.split("@app.command(")[1:]]
    alone = [rest.split("(")[0] for decorators, rest in heads if "@takes(" not in decorators]
    names = [f"`{name}`" for name in alone]
    text = (ROOT / "docs" / "commands.md").read_text()
    assert f"Those of {', '.join(names[:-1])} and {names[-1]} are flags alone." in text


def test_the_sorting_in_the_readme_puts_images_explained_by_edges_first() -> None:
    (options,) = re.findall(
        r"statistics\.sort_values\((.*)\)  # .* come first", (ROOT / "README.md").read_text()
    )
    frame = pd.DataFrame({"border_share": [0.1, float("nan"), 0.9]})
    name, ascending = options.split(", ascending=")
    found = frame.sort_values(name.strip('"'), ascending=ascending == "True")
    assert found.index.tolist() == [2, 0, 1], "failed rows come last"


def test_constraints_pin_versions_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in pins)
