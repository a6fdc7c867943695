"""A message and what becomes of it: published, tried again, or ended with its reason in the run directory."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_runs import write_model, write_run

from shared.attempts import MAX_ATTEMPTS, begin_attempt, read_attempts
from shared.broker import TASK_NAME, make_app
from shared.errors import ModelError, StorageError
from shared.messages import ShardTask, task_to_message
from shared.run import read_run, run_to_dict
from shared.settings import Settings
from worker.engines import Engines
from worker.heart import Heart
from worker.path_map import parse_path_map
from worker.reader import ImageReader
from worker.session import Session
from worker.tasks import register
from worker.turns import Turns

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def run(tmp_path, image_dir):
    """Two shards of four and three images."""
    write_model(tmp_path / "model.keras")
    return write_run(
        tmp_path / "runs/run", tmp_path / "model.keras", sorted(image_dir.iterdir()), shard_size=4
    )


@pytest.fixture
def session(tmp_path) -> Session:
    """A session that works below tmp_path/runs."""
    (tmp_path / "runs").mkdir(exist_ok=True)
    settings, turns = Settings(runs_root=tmp_path / "runs", batch_size=4), Turns()
    engines = Engines(settings, parse_path_map(()), ImageReader(2), turns)
    return Session(settings, engines, Heart("worker", tmp_path / "states"), turns)


@pytest.fixture
def explain(session):
    """Let Celery run the task in this process, its retries at once, and return what became of it."""
    app = make_app("memory://")
    register(app, lambda: session)

    def apply(run, shard: int = 0):
        ids = tuple(f"image{row}" for row in run.shard_rows(shard))
        message = task_to_message(ShardTask(run.dir, run.run_id, shard, ids))
        return app.tasks[TASK_NAME].apply(args=[message])

    return apply


def failing(monkeypatch, session, errors: list[Exception]) -> None:
    """Have the session raise these errors, one a call, before it works."""
    make = session.make

    def fail(*arguments):
        if errors:
            raise errors.pop(0)
        return make(*arguments)

    monkeypatch.setattr(session, "make", fail)


def test_the_last_shards_task_writes_table_and_index(run, session, explain):
    explain(run, 1)
    assert not run.table_path.exists()
    explain(run, 0)
    table = pq.read_table(run.table_path).to_pydict()
    assert table["image_id"] == [f"image{row}" for row in range(7)]
    assert table["status"] == [0] * 7
    run.table_path.unlink()
    assert explain(run, 0).get() == "was there"  # a redelivered task, whose worker died before it was done
    assert run.table_path.exists() and run.index_path.exists()


def test_a_table_of_a_newer_camshard_fails_no_task(run, session, explain, caplog):
    explain(run, 1)
    about = json.dumps({"schema": 9, "run_id": run.run_id, "shards": {}})
    explain(run, 0)
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({"camshard": about}), run.table_path)
    assert explain(run, 0).get() == "was there"
    assert "schema 9 is newer" in caplog.text


def test_a_table_that_cannot_be_written_fails_no_task(run, session, explain, monkeypatch, caplog):
    monkeypatch.setattr("shared.finish.write_table", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    explain(run, 1)
    assert explain(run, 0).get() == "published"
    assert "table.parquet and index.h5 were not written" in caplog.text
    assert not run.table_path.exists() and run.index_path.exists()


def test_a_task_publishes_its_shard_and_its_attempts_are_forgotten(run, session, explain):
    assert explain(run).get() == "published"
    assert run.published_shards() == {0}
    assert read_attempts(run, 0) is None
    assert explain(run).get() == "was there"


def test_storage_trouble_is_tried_again_until_it_has_passed(run, session, explain, monkeypatch):
    trouble = [StorageError("the folder is not mounted") for _ in range(2 * MAX_ATTEMPTS)]
    failing(monkeypatch, session, trouble)
    explain(run)
    assert (trouble, run.published_shards()) == ([], {0})
    assert read_attempts(run, 0) is None


def test_while_storage_is_in_trouble_the_run_directory_has_the_reason_and_nothing_is_given_up(
    run, session, explain, monkeypatch
):
    failing(monkeypatch, session, [StorageError("the disk is full") for _ in range(1_000)])
    assert isinstance(explain(run).result, Exception)
    attempts = read_attempts(run, 0)
    assert (attempts.error, attempts.used_up) == ("the disk is full", False)


def test_a_state_folder_that_cannot_be_written_is_trouble_that_passes_too(run, session, explain, monkeypatch):
    refused = [StorageError("state: no space left")]
    monkeypatch.setattr(
        "worker.tasks.begin_attempt",
        lambda *arguments: (_ for _ in ()).throw(refused.pop()) if refused else begin_attempt(*arguments),
    )
    explain(run)
    assert run.published_shards() == {0}


def test_an_error_that_would_come_again_ends_the_task_with_its_reason(run, session, explain, monkeypatch):
    failing(monkeypatch, session, [ModelError("the model file has changed")])
    assert isinstance(explain(run).result, ModelError)
    assert read_attempts(run, 0).error == "the model file has changed"
    assert read_attempts(run, 0).used_up
    assert explain(run).get() == "given up"


def test_a_shard_that_killed_its_process_three_times_is_not_begun_again(run, session, explain):
    for _ in range(MAX_ATTEMPTS):
        begin_attempt(run, 0)
    assert explain(run).get() == "given up"
    assert run.published_shards() == set()


def test_a_run_out_of_this_workers_reach_goes_back_to_the_others(run, session, explain, monkeypatch):
    session._root = run.dir / "elsewhere"
    looks: list[int] = []
    find_run = session.find_run

    def find(task):
        looks.append(task.shard)
        if len(looks) == 3:  # now a worker takes it that sees the run
            session._root = run.dir.parent
        return find_run(task)

    monkeypatch.setattr(session, "find_run", find)
    explain(run)
    assert len(looks) == 3
    assert run.published_shards() == {0}


def test_images_that_moved_while_the_worker_ran_are_found_where_the_plan_says_now(
    run, session, explain, image_dir, tmp_path
):
    assert explain(run, 0).get() == "published"
    moved = image_dir.rename(tmp_path / "moved")
    records = run.records()
    table = pq.read_table(run.manifest_path)
    paths = pa.array([str(moved / f"{image_id}.png") for image_id in records.image_ids])
    table = table.set_column(table.schema.get_field_index("image_path"), "image_path", paths)
    pq.write_table(table, run.manifest_path, row_group_size=run.shard_size)
    planned = replace(run, images=replace(run.images, dirs=(moved,)))
    (run.dir / "run.json").write_text(json.dumps(run_to_dict(planned)))
    assert explain(run, 1).get() == "published"
    from shared.shard import open_shard

    with open_shard(read_run(run.dir).shard_path(1)) as file:
        assert (np.asarray(file["status"]) == 0).all()
