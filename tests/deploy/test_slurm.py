"""The Slurm scripts, without Slurm: what they say is right, and with stand-ins for its commands they work."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer

from camshard.cli import app
from camshard.results import open_run
from shared.inspection import inspection_path_beside, inspection_to_json
from shared.model_source import ModelSource
from shared.model_spec import InputSpec, ModelSpec, write_spec
from worker.inspect import inspect_file

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "slurm"
SCRIPTS = ("one-node.sbatch", "many-nodes.sbatch")
JOB_ID = "4711"
STAND_INS = {
    # runs the task here, as the one node
    "srun": """
        output=/dev/stdout
        while [[ $1 == --* ]]; do
            [[ $1 != --output=* ]] || output=${1#--output=}
            shift
        done
        echo $$ >"$STAND_IN/srun.pid"
        exec "$@" >"${output//%N/node1}" 2>&1
    """,
    "scancel": """
        echo "scancel $*" >>"$STAND_IN/asked"
        kill -TERM "$(<"$STAND_IN/srun.pid")"
    """,
    "scontrol": """
        echo "scontrol $*" >>"$STAND_IN/asked"
    """,
}

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a script as Slurm would start it on one node without GPUs; it ends with the test."""
    jobs: list[subprocess.Popen[str]] = []
    programs = tmp_path / "camshard-env" / "bin"
    programs.mkdir(parents=True)
    texts = {**STAND_INS, "camshard": f'exec {sys.executable} -P -m camshard "$@"'}
    for name, text in texts.items():
        (programs / name).write_text(f"#!/bin/bash\nset -eu\n{text}\n")
        (programs / name).chmod(0o755)

    def run(script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        edited = tmp_path / script
        edited.write_text((DEPLOY / script).read_text().replace("listen=0.0.0.0:0", "listen=127.0.0.1:0"))
        told = {"HOME": str(tmp_path), "STAND_IN": str(tmp_path), "SLURM_JOB_ID": JOB_ID}
        told |= {"SLURM_JOB_NODELIST": "node1", "SLURM_CPUS_ON_NODE": str(os.cpu_count())}
        job = subprocess.Popen(
            ["bash", str(edited), *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | told | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        jobs.append(job)
        return job

    yield run
    for job in jobs:
        job.terminate()
        job.communicate(timeout=60)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory, make_images: Callable) -> list[object]:
    """What must be typed for a run of 24 images and a very small net."""
    import keras

    folder = tmp_path_factory.mktemp("slurm")
    image_ids = [f"image{number:02d}" for number in range(24)]
    pd.DataFrame({"image_id": image_ids, "dx": ["mel", "nv"] * 12}).to_csv(folder / "set.csv", index=False)
    inputs = keras.Input((32, 40, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    model_path = folder / "net.keras"
    keras.Model(inputs, outputs).save(model_path)
    write_spec(
        model_path.with_suffix(".toml"),
        ModelSpec("multiclass", ("mel", "nv"), InputSpec((32, 40), scale="0..1")),
    )
    source = ModelSource(model_path)
    inspected = inspection_to_json(inspect_file(source, trust_model=False), source)
    inspection_path_beside(model_path).write_text(inspected)  # so that planning need not load the model
    images = make_images(folder / "images", image_ids)
    return ["--metadata", folder / "set.csv", "--images", images, "--model", model_path]


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_reads_the_script(script: str) -> None:
    subprocess.run(["bash", "-n", DEPLOY / script], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_slurm_reads_all_its_options(script: str) -> None:
    """Slurm stops at the first line that is no comment."""
    lines = (DEPLOY / script).read_text().splitlines()
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    asked = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert asked and max(asked) < first_command


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_of_camshard_is_one(script: str) -> None:
    text = (DEPLOY / script).read_text().replace("\\\n", " ")
    used = [
        (command, option)
        for command, rest in re.findall(r"^[^#\n]*camshard (\w+) ([^>\n]*)", text, re.MULTILINE)
        for option in re.findall(r"--[a-z][a-z-]+", rest)
    ]
    used += [
        ("worker", option)
        for arrays in re.findall(r"^places=\((.*)\)|^worker_options=(.*)", text, re.MULTILINE)
        for option in re.findall(r"--[a-z][a-z-]+", " ".join(arrays))
    ]
    assert used
    for command, option in used:
        assert option in _options_of(command), f"camshard {command} has no {option}"


def test_a_run_without_a_directory_is_refused(start: Start) -> None:
    for script in SCRIPTS:
        job = start(script, "--metadata", "set.csv")
        assert "--out RUN is wanted" in job.communicate(timeout=20)[0]
        assert job.returncode == 1


@pytest.mark.tensorflow
@pytest.mark.service
def test_many_nodes_hand_on_the_exit_code_and_leave_no_password(
    start: Start, plan: list[object], tmp_path: Path
) -> None:
    csv_path = tmp_path / "more.csv"
    frame = pd.read_csv(str(plan[1]))
    frame.loc[len(frame)] = ["nowhere", "nv"]
    frame.to_csv(csv_path, index=False)
    job = start("many-nodes.sbatch", *plan, "--metadata", csv_path, "--out", "runs/a")
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 3, said
    table = open_run(tmp_path / "runs" / "a").table
    assert table.query("status != 0")["image_id"].tolist() == ["nowhere"]
    logs = tmp_path / "runs" / "a" / "slurm" / f"{JOB_ID}.0"
    assert sorted(path.name for path in logs.iterdir()) == ["broker.log", "worker-node1.log"]


@pytest.mark.tensorflow
@pytest.mark.service
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(
    script: str, start: Start, plan: list[object], tmp_path: Path
) -> None:
    one = [*plan, "--shard-size", 1, "--out", "runs/one"]
    slow = ["--window", 1]  # the next shard is enqueued half a second later, not before
    job = start(script, *one, *slow)
    _wait_until(lambda: any((tmp_path / "runs" / "one" / "shards").rglob("shard-*.h5")), job)
    job.send_signal(signal.SIGUSR1)
    said, _ = job.communicate(timeout=60)
    assert job.returncode == 4, said
    assert (tmp_path / "asked").read_text().endswith(f"scontrol requeue {JOB_ID}\n")
    before = _times_of_shards(tmp_path / "runs" / "one")
    assert 0 < len(before) < 24

    two = [*plan, "--limit", 5, "--out=runs/two"]
    again = start(script, *one, "+", *two, SLURM_RESTART_COUNT="1")
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    after = _times_of_shards(tmp_path / "runs" / "one")
    assert len(after) == 24
    assert {name: after[name] for name in before} == before
    assert len(open_run(tmp_path / "runs" / "two").table) == 5


def _times_of_shards(run_dir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run_dir / "shards").rglob("shard-*.h5")}


def _options_of(command: str) -> set[str]:
    commands = typer.main.get_command(app).commands
    return {option for parameter in commands[command].params for option in parameter.opts}


def _wait_until(condition: Callable[[], bool], job: subprocess.Popen[str], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert job.poll() is None and time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
