"""What a worker checks before it touches a run, and what it keeps."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import write_model, write_run

from shared.errors import DeviceMemoryError, MessageError, ModelError, OutOfReachError, StorageError
from shared.heartbeat import read_beats
from shared.messages import ShardTask
from shared.run import Run
from shared.settings import Settings
from worker import engines as engines_module
from worker import session as session_module
from worker.engines import Engines
from worker.heart import Heart
from worker.path_map import parse_path_map
from worker.reader import ImageReader
from worker.session import Session
from worker.turns import Turns

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def runs_root(tmp_path) -> Path:
    root = tmp_path / "runs"
    root.mkdir()
    return root


@pytest.fixture
def run(runs_root, image_dir, tmp_path) -> Run:
    """Two shards of four and three images; the model lies beside the runs."""
    write_model(tmp_path / "model.keras")
    return new_run(runs_root / "run", tmp_path, image_dir)


@pytest.fixture
def session(runs_root, tmp_path) -> Session:
    return session_with(Settings(runs_root=runs_root, batch_size=4), tmp_path)


def session_with(settings: Settings, tmp_path: Path) -> Session:
    turns = Turns()
    engines = Engines(settings, parse_path_map(settings.map), ImageReader(2), turns)
    return Session(settings, engines, Heart("worker", tmp_path / "states"), turns)


def new_run(run_dir: Path, tmp_path: Path, image_dir: Path) -> Run:
    return write_run(run_dir, tmp_path / "model.keras", sorted(image_dir.iterdir()), shard_size=4)


def task_of(planned: Run, shard: int = 0, **changed) -> ShardTask:
    ids = tuple(f"image{row}" for row in planned.shard_rows(shard))
    task = {"run": planned.dir, "run_id": planned.run_id, "shard": shard, "image_ids": ids}
    return ShardTask(**(task | changed))


def test_a_task_is_made_in_the_run_its_message_names(session, run):
    task = task_of(run, 1)
    assert session.make(session.find_run(task), task)
    assert run.published_shards() == {1}
    with h5py.File(run.shard_path(1)) as shard:
        assert shard["image_id"].asstr()[:].tolist() == ["image4", "image5", "image6"]
    assert [(beat.worker, beat.shards) for beat in read_beats(run)] == [("worker", {})]


def test_rows_are_done_again_beside_the_shard_whose_file_stays(session, run):
    session.make(run, task_of(run))
    before = run.shard_path(0).read_bytes()
    again = task_of(run, revision=2, image_ids=("image1", "image3"))
    assert session.make(session.find_run(again), again)
    assert run.shard_path(0).read_bytes() == before
    with h5py.File(run.shard_path(0)) as first, h5py.File(run.shard_path(0, 2)) as redone:
        assert redone["image_id"].asstr()[:].tolist() == ["image1", "image3"]
        assert redone["label"][:].tolist() == first["label"][[1, 3]].tolist()
        np.testing.assert_allclose(redone["logit"][:], first["logit"][[1, 3]], atol=1e-5)
        assert redone.attrs["revision"] == 2


@pytest.mark.parametrize("ids", [("image1", "image4"), ("image3", "image1"), ("image1", "image1"), ()])
def test_rows_to_do_again_must_be_the_shards_in_its_order(session, run, ids):
    task = task_of(run, revision=1, image_ids=ids)
    with pytest.raises(MessageError, match="image ids are not those of the manifest"):
        session.make(run, task)
    assert run.published_shards() == set()


def test_the_model_is_loaded_once_for_all_runs_of_it_and_compiled_once_for_each(
    session, run, tmp_path, image_dir, monkeypatch
):
    loads: list[Path] = []
    load_model = engines_module.load_model
    monkeypatch.setattr(
        engines_module, "load_model", lambda source, trust: loads.append(source) or load_model(source, trust)
    )
    other = new_run(run.dir.parent / "other", tmp_path, image_dir)
    explainers = set()
    for shard in (0, 1):
        for planned in (run, other):
            session.make(session.find_run(task_of(planned, shard)), task_of(planned, shard))
            explainers.add(id(session._engines.engine_for(planned)))
    assert (len(loads), len(explainers)) == (1, 2)
    assert run.published_shards() == other.published_shards() == {0, 1}


def test_another_model_takes_the_place_of_the_first(session, run, tmp_path, image_dir):
    session.make(session.find_run(task_of(run)), task_of(run))
    write_model(tmp_path / "other.keras")
    other = write_run(
        run.dir.parent / "other", tmp_path / "other.keras", sorted(image_dir.iterdir()), shard_size=4
    )
    session.make(session.find_run(task_of(other)), task_of(other))
    assert list(session._engines._engines) == [other.run_id]
    assert other.published_shards() == {0}


def test_a_run_outside_the_runs_root_is_refused(session, run, tmp_path, image_dir):
    outside = new_run(tmp_path / "outside", tmp_path, image_dir)
    with pytest.raises(OutOfReachError, match=r"outside is not below .*/runs, where this worker may work"):
        session.find_run(task_of(outside))


def test_neither_dots_nor_links_lead_out_of_the_runs_root(session, run, runs_root, tmp_path, image_dir):
    outside = new_run(tmp_path / "outside", tmp_path, image_dir)
    (runs_root / "link").symlink_to(outside.dir)
    for way_out in (runs_root / ".." / "outside", runs_root / "link"):
        with pytest.raises(OutOfReachError, match="is not below"):
            session.find_run(task_of(outside, run=way_out))


def test_another_run_in_the_same_directory_is_refused(session, run):
    with pytest.raises(MessageError, match=r"holds run id-of-run, the message is of run older"):
        session.find_run(task_of(run, run_id="older"))


def test_a_shard_that_the_run_does_not_have_is_refused(session, run):
    with pytest.raises(MessageError, match="has 2 shards, the message asks for 2"):
        session.find_run(task_of(run, shard=2, image_ids=("image0",)))


def test_a_directory_without_a_run_is_refused(session, runs_root):
    with pytest.raises(OutOfReachError, match=r"nothing: no run directory.*--map OLD=NEW"):
        session.find_run(ShardTask(runs_root / "nothing", "id", 0, ("image0",)))


@pytest.mark.parametrize(
    "ids", [("image0", "image1", "image2", "foreign"), ("image0",), ("image3", "image2", "image1", "image0")]
)
def test_image_ids_that_are_not_the_shards_are_refused(session, run, ids):
    task = task_of(run, image_ids=ids)
    with pytest.raises(MessageError, match="shard 0: the message's image ids are not those of the manifest"):
        session.make(session.find_run(task), task)
    assert run.published_shards() == set()


def test_a_model_that_has_changed_since_planning_is_refused(session, run):
    with run.model_path.open("ab") as file:
        file.write(b"changed")
    with pytest.raises(ModelError, match=r"model.keras: the model file has changed since run id-of-run"):
        session.make(session.find_run(task_of(run)), task_of(run))
    assert run.published_shards() == set()


def test_a_manifest_out_of_reach_is_trouble_with_the_storage(session, run):
    run.manifest_path.unlink()
    with pytest.raises(StorageError, match=r"manifest.parquet: reading failed"):
        session.make(session.find_run(task_of(run)), task_of(run))


def test_a_worker_with_other_mount_points_finds_run_and_model(run, runs_root, tmp_path):
    run_json = run.dir / "run.json"
    run_json.write_text(run_json.read_text().replace(str(tmp_path), "/cluster"))
    session = session_with(Settings(runs_root=runs_root, batch_size=4, map=f"/cluster={tmp_path}"), tmp_path)
    task = task_of(run, run=Path("/cluster/runs/run"))
    found = session.find_run(task)
    assert (found.dir, found.model_path) == (run.dir, Path("/cluster/model.keras"))
    assert session.make(found, task) and run.published_shards() == {0}


def test_batches_are_halved_until_the_memory_takes_them_and_stay_so(run, runs_root, tmp_path, monkeypatch):
    """The memory that runs out is a fake: there is no GPU here."""
    make_shard, sizes = session_module.make_shard, []

    def short_of_memory(run, task, records, engine, turn, on_rows):
        sizes.append(engine.explainer.batch_size)
        if sizes[-1] > 1:
            raise DeviceMemoryError("too large")
        return make_shard(run, task, records, engine, turn, on_rows)

    monkeypatch.setattr(session_module, "make_shard", short_of_memory)
    monkeypatch.setattr(engines_module, "_BATCH_SIZE_CPU", 4)
    session = session_with(Settings(runs_root=runs_root), tmp_path)
    for shard in (0, 1):
        assert session.make(session.find_run(task_of(run, shard)), task_of(run, shard))
    assert sizes == [4, 2, 1, 1]


def test_two_shards_that_run_out_of_memory_at_once_halve_their_batches_once(run, session, monkeypatch):
    session._engines._settings = Settings()
    engine = session._engines.engine_for(run)
    for _ in range(2):
        session._engines.use_smaller_batches(engine, DeviceMemoryError("too large"))
    assert session._engines.engine_for(run).explainer.batch_size == 2


def test_memory_that_runs_out_in_tensorflow_is_named_with_its_batch(run, session, monkeypatch):
    def no_memory(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    engine = session._engines.engine_for(run)
    monkeypatch.setattr(engine.explainer, "_compiled", no_memory)
    with pytest.raises(ModelError, match="does not take batches of 4 images.*smaller --batch-size"):
        session.make(session.find_run(task_of(run)), task_of(run))


def test_what_a_worker_has_done_is_counted(run, session, runs_root):
    for shard in (0, 1):
        session.make(session.find_run(task_of(run, shard)), task_of(run, shard))
    state = session._heart.state()
    assert (state.shards_done, state.images_done, state.images_failed, state.shards_failed) == (2, 7, 0, 0)
    assert state.run_dirs == (str(run.dir),)
    with h5py.File(run.shard_path(0)) as one, h5py.File(run.shard_path(1)) as two:
        for name in ("reading", "computing", "waiting_for_images", "waiting_for_writing"):
            in_files = one.attrs[f"seconds_{name}"] + two.attrs[f"seconds_{name}"]
            assert state.seconds[name] == pytest.approx(in_files)
