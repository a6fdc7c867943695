"""Planning over an S3 server: what lies there is taken as what lies on disk."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_server import S3Server, serving_here
from tiny_plans import ROWS, MakePlan

from producer.plan import Plan
from producer.run_directory import write_run_dir
from shared.errors import (
    ImageFolderError,
    MetadataError,
    ModelError,
    SettingsError,
    SpecError,
    StorageError,
)
from shared.run import read_run

PlanAt = Callable[..., Plan]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    folder = tmp_path / "buckets"
    folder.mkdir()
    with serving_here(folder) as found:
        yield found


@pytest.fixture
def plan_at(server: S3Server, make_plan: MakePlan, tmp_path: Path) -> PlanAt:
    """Put the five images into s3://data/images, the model into s3://models, and plan over them."""
    make_plan()
    shutil.copytree(tmp_path / "images", server.folder / "data" / "images")
    (server.folder / "models").mkdir()
    for name in ("model.keras", "model.inspection.json"):
        shutil.copy(tmp_path / name, server.folder / "models")
    shutil.copy(tmp_path / "set.csv", server.folder / "data")
    defaults = {
        "images": ["s3://data/images"], "model": "s3://models/model.keras", "cache_dir": tmp_path / "cache",
    }  # fmt: skip
    return lambda **flags: make_plan(**defaults | flags)


def test_a_plan_over_s3_is_the_run_of_one_over_disk(
    plan_at: PlanAt, make_plan: MakePlan, elsewhere: Path
) -> None:
    plan, local = plan_at(), make_plan()
    assert plan.records.image_paths == [f"s3://data/images/{one}.jpg" for one in "abcde"]
    assert plan.run.run_id == local.run.run_id
    assert plan.run.dir == elsewhere / "runs" / f"model-set-{local.run.run_id}"
    assert (str(plan.run.model_path), str(plan.run.images.dirs[0])) == (
        "s3://models/model.keras", "s3://data/images",
    )  # fmt: skip
    found = read_run(write_run_dir(plan).dir)
    assert (found.model_path, found.images) == (plan.run.model_path, plan.run.images)
    assert found.records().image_paths == plan.records.image_paths


def test_folders_of_both_kinds_are_searched_together(
    plan_at: PlanAt, server: S3Server, tmp_path: Path
) -> None:
    (server.folder / "data" / "images" / "e.jpg").unlink()
    part = server.folder / "data" / "images" / "part_2"
    part.mkdir()
    shutil.move(server.folder / "data" / "images" / "d.jpg", part)
    (tmp_path / "more").mkdir()
    shutil.copy(tmp_path / "images" / "e.jpg", tmp_path / "more")
    plan = plan_at(images=["s3://data/images", str(tmp_path / "more")])
    assert plan.records.image_paths[3:] == ["s3://data/images/part_2/d.jpg", str(tmp_path / "more" / "e.jpg")]
    shutil.copy(tmp_path / "images" / "a.jpg", tmp_path / "more")
    with pytest.raises(ImageFolderError, match=r"'a' is there twice: s3://data/images/a.jpg and /"):
        plan_at(images=["s3://data/images", str(tmp_path / "more")])


def test_the_spec_beside_a_model_in_a_bucket_counts(plan_at: PlanAt, server: S3Server) -> None:
    (server.folder / "models" / "model.toml").write_text('[input]\nscale = "torch"\nresize = "crop"\n')
    plan = plan_at(scale=None)
    assert (plan.run.spec.input.scale, plan.run.spec.input.resize) == ("torch", "crop")
    (server.folder / "models" / "model.toml").write_text("[input\n")
    with pytest.raises(SpecError, match="s3://models/model.toml: no TOML"):
        plan_at()


def test_a_local_spec_counts_for_a_model_in_a_bucket(plan_at: PlanAt, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[input]\nscale = "caffe"\n')
    assert plan_at(scale=None, spec=tmp_path / "mine.toml").run.spec.input.scale == "caffe"


def test_code_in_a_bucket_is_not_fetched(plan_at: PlanAt, server: S3Server) -> None:
    (server.folder / "models" / "model.toml").write_text('[code]\nlayers = "layers.py"\n')
    (server.folder / "models" / "layers.py").write_text("")
    with pytest.raises(SpecError, match=r"s3://models/model.toml: \[code\].*--custom-layers"):
        plan_at(trust_model=True)


def test_metadata_may_lie_in_a_bucket(plan_at: PlanAt, make_plan: MakePlan) -> None:
    plan = plan_at(metadata="s3://data/set.csv")
    assert plan.run.run_id == make_plan().run.run_id
    assert str(plan.run.metadata.path) == "s3://data/set.csv"
    with pytest.raises(MetadataError, match="s3://data/none.csv: no such metadata CSV"):
        plan_at(metadata="s3://data/none.csv")


def test_a_model_that_is_not_there_is_named(plan_at: PlanAt) -> None:
    with pytest.raises(ModelError, match="s3://models/none.keras: no such model file. Name it with --model"):
        plan_at(model="s3://models/none.keras")
    with pytest.raises(StorageError, match="s3://nobucket: the bucket is not there"):
        plan_at(model="s3://nobucket/model.keras")
    with pytest.raises(ImageFolderError, match="s3://data/nothing: no such image folder"):
        plan_at(images=["s3://data/nothing"])


def test_without_a_cache_nothing_is_left(plan_at: PlanAt, tmp_path: Path) -> None:
    plan_at(cache_size=0)
    assert not (tmp_path / "cache").exists()
    plan_at()
    assert [path.name.partition("-")[2] for path in (tmp_path / "cache").glob("??/*")] == ["model.keras"]


@pytest.mark.parametrize(
    "image_id",
    [
        "file:///etc/passwd",
        "s3://data/images/a.jpg",
        "zip://a.jpg::file:///etc/a.zip",
        "simplecache::/etc/passwd",
    ],
)
def test_a_url_in_the_csv_is_no_image(plan_at: PlanAt, image_id: str) -> None:
    with pytest.raises(MetadataError, match="no plain file names"):
        plan_at(rows=(*ROWS, f"L9,{image_id},mel,1"))


def test_what_looks_like_a_chained_url_opens_nothing(plan_at: PlanAt) -> None:
    plan = plan_at(rows=(*ROWS, "L9,filecache::passwd,mel,1"))
    assert plan.records.image_paths[-1] is None


def test_a_run_that_names_files_of_a_worker_by_url_is_refused(plan_at: PlanAt) -> None:
    run = write_run_dir(plan_at())
    path = run.dir / "run.json"
    path.write_text(path.read_text().replace("s3://models/model.keras", "file:///etc/passwd"))
    with pytest.raises(SettingsError, match="file:// is not read"):
        read_run(run.dir)
