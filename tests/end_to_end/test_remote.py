"""Real runs over images and a model in an S3 server: the same results as from disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Camshard, plan_arguments
from s3_server import S3Server, serving_here

from camshard.results import open_run
from shared.run import read_run
from shared.status import Status

pytestmark = [pytest.mark.tensorflow, pytest.mark.service]

PLACES = ["--images", "s3://data/ham/images", "--model", "s3://models/small.keras"]


@pytest.fixture
def server(lesion_set: Path, small_model: Path, tmp_path: Path) -> Iterator[S3Server]:
    """The lesions in s3://data/ham, the model and its spec in s3://models."""
    folder = tmp_path / "buckets"
    shutil.copytree(lesion_set.parent / "images", folder / "data" / "ham" / "images")
    shutil.copy(lesion_set, folder / "data" / "ham")
    shutil.copytree(small_model.parent, folder / "models")
    with serving_here(folder) as found:
        yield found


def test_a_run_over_s3_has_the_results_of_one_over_disk(
    server: S3Server, camshard: Camshard, lesion_set: Path, small_model: Path, tmp_path: Path
) -> None:
    local = camshard("run", *plan_arguments(lesion_set, small_model), "--out", "disk")
    assert local.returncode == 0, local.stderr
    remote = camshard("run", "--metadata", lesion_set, *PLACES, "--cache-dir", "cache", "--out", "s3")
    assert remote.returncode == 0, remote.stderr

    disk, s3 = open_run(tmp_path / "disk"), open_run(tmp_path / "s3")
    assert s3.run.run_id == disk.run.run_id
    pd.testing.assert_frame_equal(s3.table, disk.table, rtol=1e-5)
    assert (s3.table["status"] == Status.OK).all() and len(s3.table) == 60
    for one in disk.image_ids[:5]:
        expected = disk.attribution(one)
        np.testing.assert_allclose(s3.attribution(one), expected, rtol=1e-3, atol=1e-5 * abs(expected).max())
    assert str(s3.run.model_path) == "s3://models/small.keras"
    assert s3.run.shard_records(0).image_paths[0] == f"s3://data/ham/images/{s3.image_ids[0]}.jpg"
    np.testing.assert_array_equal(s3.image(s3.image_ids[0]), disk.image(disk.image_ids[0]))

    kept = [path.name.partition("-")[2] for path in (tmp_path / "cache").glob("??/*")]
    assert sorted(kept) == sorted([f"{one}.jpg" for one in s3.image_ids] + ["small.keras"])

    moved = camshard("run", *plan_arguments(lesion_set, small_model), "--out", "s3")
    assert moved.returncode == 0, moved.stderr
    assert read_run(tmp_path / "s3").model_path == small_model, "the same run, whose files were moved"


def test_bad_objects_cost_a_row_each_and_metadata_may_lie_there_too(
    server: S3Server, camshard: Camshard, lesion_set: Path, tmp_path: Path
) -> None:
    images = server.folder / "data" / "ham" / "images"
    ids = pd.read_csv(lesion_set)["image_id"]
    (images / f"{ids[0]}.jpg").unlink()
    (images / f"{ids[1]}.jpg").write_bytes(b"")
    (images / f"{ids[2]}.jpg").write_bytes(b"no image")
    done = camshard(
        "run", "--metadata", "s3://data/ham/metadata.csv", *PLACES, "--cache-size", "0", "--limit", "10",
        "--max-pixels", "1000000", "--out", "run",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    statuses = open_run(tmp_path / "run").table["status"].tolist()
    assert statuses == [Status.MISSING, Status.UNREADABLE, Status.UNREADABLE] + [Status.OK] * 7


def test_a_store_that_denies_access_is_no_row_and_no_run(
    server: S3Server, camshard: Camshard, lesion_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    done = camshard("run", "--metadata", lesion_set, *PLACES, "--cache-dir", "cache", "--out", "run")
    assert done.returncode == 1
    assert "s3://data/ham/images: access denied" in done.stderr
    assert not (tmp_path / "run").exists()


def test_inspect_reads_a_model_from_s3_and_writes_here(
    server: S3Server, camshard: Camshard, tmp_path: Path
) -> None:
    (server.folder / "models" / "small.toml").unlink()
    done = camshard("inspect", "s3://models/small.keras", "--cache-dir", "cache")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small.toml").exists() and (tmp_path / "small.inspection.json").exists()
    assert "copy small.inspection.json and small.toml beside the model" in " ".join(done.stdout.split())
