"""A whole shard from image files to HDF5, with a real model."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from plain_keras import assert_near, forward_to_logits, plain_cam, plain_gradcam, plain_logits
from tiny_models import CLASSES, Net, loaded, net, spec_of
from tiny_runs import REQUEST, pixels_of, write_run

from shared.errors import StorageError
from shared.messages import ShardTask
from shared.run import Run
from shared.status import Status
from worker.explain import Explainer
from worker.path_map import parse_path_map
from worker.pipeline import Engine, make_shard
from worker.reader import ImageReader
from worker.turns import Turns

pytestmark = pytest.mark.tensorflow

CAM, GRADCAM = "cam__conv2", "gradcam__relu1"


@pytest.fixture(scope="module")
def built() -> Net:
    return net("gap, dense softmax")


@pytest.fixture(scope="module")
def model_path(built, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    built.model.save(path)
    return path


@pytest.fixture(scope="module")
def engine(built) -> Engine:
    """Batches of four, so that a shard of seven takes two, the second padded."""
    explainer = Explainer(loaded(built.model), spec_of(built.model, "multiclass"), REQUEST, 4)
    return Engine(explainer, None, ImageReader(2), parse_path_map(()).here)


@pytest.fixture
def paths(image_dir) -> list[Path | None]:
    return [image_dir / f"image{number}.png" for number in range(7)]


def make(run: Run, engine: Engine, shard: int = 0, on_rows=lambda rows: None) -> bool:
    records = run.shard_records(shard)
    task = ShardTask(run.dir, run.run_id, shard, tuple(records.image_ids))
    with Turns().take(2) as turn:
        made = make_shard(run, task, records, engine, turn, on_rows)
    assert turn.model.acquire(blocking=False), "the model was not given up"
    return made.published


def assert_nothing_is_left(run: Run) -> None:
    assert list(run.building_dir.iterdir()) == []
    assert run.published_shards() == set()


def test_a_shard_holds_what_plain_keras_computes(tmp_path, paths, built, model_path, engine):
    run = write_run(tmp_path / "run", model_path, paths)
    assert make(run, engine)
    pixels = pixels_of(paths)
    weights = built.dense.kernel.numpy()
    maps = forward_to_logits(built, "conv2")(pixels)[0].numpy()
    with h5py.File(run.shard_path(0)) as shard:
        assert shard["image_id"].asstr()[:].tolist() == [f"image{number}" for number in range(7)]
        assert shard["label"][:].tolist() == [-1, 0, 1, 2, -1, 0, 1]
        assert (shard["status"][:] == Status.OK).all() and set(shard["error"].asstr()) == {""}
        assert (shard["target"][:] == np.arange(CLASSES)).all()
        assert_near(shard["logit"][:], plain_logits(built, pixels), 1e-5)
        expected = built.model.predict(pixels, verbose=0)
        np.testing.assert_allclose(shard["probability"], expected, atol=1e-5)
        assert shard["prediction"][:].tolist() == expected.argmax(axis=1).tolist()
        for target in range(CLASSES):
            cams = np.array([plain_cam(one, weights[:, target]) for one in maps])
            assert_near(shard[CAM][:, target], cams)
            gradcams = plain_gradcam(pixels, forward_to_logits(built, "relu1"), [target] * 7)
            assert_near(shard[GRADCAM][:, target], gradcams)


def test_a_published_shard_says_what_it_cost_and_leaves_nothing_half_built(
    tmp_path, paths, model_path, engine
):
    run = write_run(tmp_path / "run", model_path, paths)
    make(run, engine)
    assert list(run.building_dir.iterdir()) == []
    with h5py.File(run.shard_path(0)) as shard:
        cost = dict(shard.attrs)
    assert cost["rows_failed"] == 0
    assert all(cost[f"seconds_{what}"] > 0 for what in ("reading", "computing", "writing"))
    assert cost["started_at"] <= cost["first_batch_at"] <= cost["finished_at"]


def test_every_shard_has_its_own_records(tmp_path, paths, built, model_path, engine):
    run = write_run(tmp_path / "run", model_path, paths, shard_size=5)
    assert make(run, engine, shard=1)
    assert run.published_shards() == {1}
    with h5py.File(run.shard_path(1)) as shard:
        assert shard["image_id"].asstr()[:].tolist() == ["image5", "image6"]
        assert_near(shard["logit"][:], plain_logits(built, pixels_of(paths[5:])), 1e-5)


def test_bad_files_cost_their_rows_alone(tmp_path, paths, model_path, engine):
    sound = write_run(tmp_path / "sound", model_path, paths)
    make(sound, engine)
    paths[1].write_text("no image")
    paths[2] = None
    paths[5].write_bytes(paths[5].read_bytes()[:200])
    run = write_run(tmp_path / "run", model_path, paths)
    assert make(run, engine)
    good = [0, 3, 4, 6]
    with h5py.File(run.shard_path(0)) as shard, h5py.File(sound.shard_path(0)) as expected:
        assert shard["status"][:].tolist() == [0, 2, 1, 0, 0, 2, 0]
        assert ["no image" in shard["error"].asstr()[1], shard["error"].asstr()[0]] == [True, ""]
        assert shard["prediction"][:][[1, 2, 5]].tolist() == [-1, -1, -1]
        assert shard.attrs["rows_failed"] == 3
        for name in ("logit", "probability", CAM, GRADCAM):
            assert np.isnan(shard[name][:][[1, 2, 5]]).all()
            assert_near(shard[name][:][good], expected[name][:][good], 1e-6)


def test_the_second_worker_leaves_the_first_ones_file(tmp_path, paths, model_path, engine):
    run = write_run(tmp_path / "run", model_path, paths)
    assert make(run, engine)
    first, modified = run.shard_path(0).read_bytes(), run.shard_path(0).stat().st_mtime_ns
    assert not make(run, engine)
    assert run.shard_path(0).read_bytes() == first
    assert run.shard_path(0).stat().st_mtime_ns == modified
    assert list(run.building_dir.iterdir()) == []


def test_storage_that_fails_in_mid_shard_publishes_nothing(tmp_path, paths, model_path, engine):
    paths[6] = tmp_path / "not mounted" / "image6.png"
    run = write_run(tmp_path / "run", model_path, paths)
    done: list[int] = []
    with pytest.raises(StorageError, match="not mounted: the image folder is not there"):
        make(run, engine, on_rows=done.append)
    assert done == [4]  # the first batch was computed and written
    assert_nothing_is_left(run)


def test_results_that_cannot_be_written_are_trouble_with_the_storage(tmp_path, paths, model_path, engine):
    run = write_run(tmp_path / "run", model_path, paths)
    (run.dir / "shards").write_text("in the way")
    with pytest.raises(StorageError, match=r"shard-000000000.h5: writing failed"):
        make(run, engine)
    assert list(run.building_dir.iterdir()) == []


def test_progress_is_told_after_every_batch(tmp_path, paths, model_path, engine):
    run = write_run(tmp_path / "run", model_path, paths)
    done: list[int] = []
    make(run, engine, on_rows=done.append)
    assert done == [4, 7]


def test_images_are_read_where_this_machine_has_them(tmp_path, paths, model_path, engine):
    elsewhere = [Path("/mnt/of/the/producer") / path.name for path in paths]
    run = write_run(tmp_path / "run", model_path, elsewhere)
    here = parse_path_map((f"/mnt/of/the/producer={paths[0].parent}",)).here
    make(run, Engine(engine.explainer, None, engine.reader, here))
    with h5py.File(run.shard_path(0)) as shard:
        assert (shard["status"][:] == Status.OK).all()
