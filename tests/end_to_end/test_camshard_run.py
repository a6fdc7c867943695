"""`camshard run`: plan, embedded broker, local workers, shards, results."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from commands import Camshard, plan_arguments, wait_until
from oracle import expected_results

from camshard.results import open_run
from shared.finish import is_current
from shared.heartbeat import Beat, read_beats
from shared.run import read_run
from shared.shard_files import find_shard_files
from shared.table import read_digests

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, lesion_set: Path, small_model: Path) -> Path:
    """A finished run over the made-up lesions."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    command = [sys.executable, "-P", "-m", "camshard", "run", *plan_arguments(lesion_set, small_model)]
    command += ["--methods", "cam,gradcam", "--shard-size", "16", "--batch-size", "8", "--out", run_dir]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return run_dir


def test_every_record_is_there_once_in_order(finished: Path, lesion_set: Path) -> None:
    table = open_run(finished).table
    metadata = pd.read_csv(lesion_set)
    assert table["image_id"].tolist() == metadata["image_id"].tolist()
    assert (table["status"] == 0).all()
    assert table["label"].tolist() == metadata["dx"].tolist()
    assert table["age"].equals(metadata["age"])


def test_a_finished_run_has_its_table_and_its_index(finished: Path) -> None:
    run, table = open_run(finished).run, pq.read_table(finished / "table.parquet")
    assert is_current(read_digests(run), find_shard_files(run))
    with h5py.File(finished / "index.h5") as index:
        assert index["image_id"].asstr()[...].tolist() == table["image_id"].to_pylist()
        first, last = (h5py.File(run.shard_path(shard)) for shard in (0, run.num_shards - 1))
        with first, last:
            np.testing.assert_array_equal(index["cam__conv2"][: run.shard_size], first["cam__conv2"])
            np.testing.assert_array_equal(index["cam__conv2"][-last["status"].size :], last["cam__conv2"])
    assert list((finished / "state" / "building").iterdir()) == []


def test_results_equal_plain_keras_and_numpy(finished: Path, lesion_set: Path, small_model: Path) -> None:
    results = open_run(finished)
    ids = results.table["image_id"].tolist()[5:25]
    paths = [lesion_set.parent / "images" / f"{image_id}.jpg" for image_id in ids]
    expected = expected_results(small_model, paths, "conv2", (48, 64))
    columns = [f"probability_{name}" for name in results.run.spec.classes]
    found = results.table.set_index("image_id").loc[ids, columns].to_numpy()
    np.testing.assert_allclose(found, expected.probabilities, atol=1e-5)
    for method, values in (("cam", expected.cam), ("gradcam", expected.gradcam)):
        for row, image_id in enumerate(ids):
            for index in range(7):
                attribution = results.attribution(image_id, method, target=index)
                np.testing.assert_allclose(attribution, values[row, index], atol=1e-4 * np.abs(values).max())


def test_the_same_command_again_does_nothing(
    camshard: Camshard, finished: Path, lesion_set: Path, small_model: Path
) -> None:
    before = _shard_times(finished)
    again = camshard(
        "run", *plan_arguments(lesion_set, small_model), "--methods", "cam,gradcam", "--shard-size", 16,
        "--out", finished,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "60 images" in again.stdout
    assert _shard_times(finished) == before


def test_another_run_into_the_same_directory_is_refused(
    camshard: Camshard, finished: Path, lesion_set: Path, small_model: Path
) -> None:
    other = camshard(
        "run",
        *plan_arguments(lesion_set, small_model),
        "--methods",
        "cam",
        "--shard-size",
        8,
        "--out",
        finished,
    )
    assert other.returncode == 1
    assert "shard_size: 16 there, 8 now" in other.stderr
    assert open_run(finished).run.run_id in other.stderr


def test_status_as_json_says_what_is_done(camshard: Camshard, finished: Path) -> None:
    done = camshard("status", finished, "--json")
    state = json.loads(done.stdout)
    assert done.returncode == 0
    assert (state["complete"], state["rows_done"], state["shards_done"], state["rows_failed"]) == (
        True,
        60,
        4,
        0,
    )


def test_dry_run_prints_the_plan_and_leaves_nothing(
    camshard: Camshard, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    planned = camshard("run", *plan_arguments(lesion_set, small_model), "--dry-run", "--limit", 10)
    assert planned.returncode == 0, planned.stderr
    assert "10 in 1 shards of 32" in planned.stdout
    assert "conv2" in planned.stdout
    assert not (tmp_path / "runs").exists()


def test_bad_files_cost_a_row_each_and_exit_code_3(
    camshard: Camshard, finished: Path, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    image_dir = tmp_path / "images"
    shutil.copytree(lesion_set.parent / "images", image_dir)
    metadata = tmp_path / "metadata.csv"
    shutil.copy(lesion_set, metadata)
    bad = spoil(sorted(image_dir.glob("*.jpg"))[10:30])
    done = camshard(
        "run", *plan_arguments(metadata, small_model), "--methods", "cam,gradcam", "--shard-size", 16,
        "--batch-size", 8, "--out", "bad",
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    results, clean = open_run(tmp_path / "bad"), open_run(finished)
    table = results.table.set_index("image_id")
    assert len(table) == 60
    assert table.loc[list(bad), "status"].to_dict() == {
        image_id: status for image_id, (status, _) in bad.items()
    }
    for image_id, (_, reason) in bad.items():
        assert reason in table.loc[image_id, "error"]
        assert np.isnan(results.attribution(image_id, "cam")).all()
    good = [image_id for image_id in table.index if image_id not in bad]
    columns = [name for name in table.columns if name.startswith("probability_")]
    np.testing.assert_allclose(
        table.loc[good, columns], clean.table.set_index("image_id").loc[good, columns], atol=1e-5
    )


def test_ctrl_c_leaves_nothing_behind_and_the_same_command_goes_on(
    lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "camshard",
        "run",
        *map(str, plan_arguments(lesion_set, small_model)),
    ]
    command += ["--shard-size", "1", "--batch-size", "1", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    wait_until(lambda: len(_shard_times(tmp_path / "run")) >= 3)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list((tmp_path / "run" / "state" / "building").iterdir()) == []
    finished = _shard_times(tmp_path / "run")
    assert 3 <= len(finished) < 60
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    after = _shard_times(tmp_path / "run")
    assert len(after) == 60
    assert {name: after[name] for name in finished} == finished
    assert open_run(tmp_path / "run").table["image_id"].is_unique


def test_a_run_that_is_terminated_finishes_the_shards_at_work(
    lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-P", "-m", "camshard", "run", *plan_arguments(lesion_set, small_model)]
    command += ["--shard-size", "30", "--batch-size", "1", "--out", tmp_path / "run"]
    process = subprocess.Popen(list(map(str, command)), cwd=tmp_path)
    state = tmp_path / "run" / "state"
    wait_until(lambda: any(beat.shards for beat in _beats(tmp_path / "run")))
    process.terminate()
    assert process.wait(60) == 130
    assert len(_shard_times(tmp_path / "run")) >= 1, (state / "worker.log").read_text()
    assert list((state / "building").iterdir()) == [] and list((state / "attempts").iterdir()) == []


def _beats(run_dir: Path) -> list[Beat]:
    return read_beats(read_run(run_dir)) if (run_dir / "run.json").exists() else []


def test_killed_processes_cost_time_and_no_row(lesion_set: Path, small_model: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "camshard",
        "run",
        *map(str, plan_arguments(lesion_set, small_model)),
    ]
    command += ["--shard-size", "1", "--batch-size", "1", "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=tmp_path) as process:
        for enough in (3, 10):
            wait_until(lambda: len(_shard_times(tmp_path / "run")) >= enough)  # noqa: B023
            (worker,) = _workers(process.pid)
            worker.kill()
            worker.wait()
        assert process.wait(180) == 0
    table = open_run(tmp_path / "run").table
    assert table["image_id"].tolist() == pd.read_csv(lesion_set)["image_id"].tolist()
    assert (table["status"] == 0).all()


def _workers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "worker" in child.cmdline()]


def spoil(paths: list[Path]) -> dict[str, tuple[int, str]]:
    """Spoil image files in every way; return the status and reason expected by image id."""
    expected = {}
    for number, path in enumerate(paths):
        status, reason = _SPOILERS[number % len(_SPOILERS)](path)
        expected[path.stem] = (status, reason)
    return expected


def _missing(path: Path) -> tuple[int, str]:
    path.unlink()
    return 1, "no file of this image"


def _empty(path: Path) -> tuple[int, str]:
    path.write_bytes(b"")
    return 2, "empty"


def _truncated_jpeg(path: Path) -> tuple[int, str]:
    path.write_bytes(path.read_bytes()[:-500])
    return 2, "cut short"


def _truncated_png(path: Path) -> tuple[int, str]:
    data = cv2.imencode(".png", cv2.imread(str(path)))[1].tobytes()
    path.write_bytes(data[: len(data) // 2])
    return 2, "cut short"


def _text(path: Path) -> tuple[int, str]:
    path.write_text("<html>404 Not Found</html>")
    return 2, "no image"


def _huge(path: Path) -> tuple[int, str]:
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(data))
    return 3, "60000×60000"


_SPOILERS = (_missing, _empty, _truncated_jpeg, _truncated_png, _text, _huge)


def _shard_times(run_dir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in run_dir.glob("shards/*/*.h5")}
