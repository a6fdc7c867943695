"""A shard: written with h5py, read back with xarray's two engines, and what happens when writing fails."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from shared.errors import ShardError, StorageError
from shared.model_spec import InputSpec, ModelSpec
from shared.request import ExplainRequest, Targets
from shared.run import Records, Run
from shared.shard import Rows, ShardWriter, Timings, open_shard, read_attributes, remove_abandoned
from shared.shard_layout import attribution_name, attribution_size
from shared.status import Status

TIMINGS = Timings(seconds_reading=1.5, seconds_computing=2.5, started_at=100.0, first_batch_at=101.0)


def make_rows(start: int, count: int, status: Status = Status.OK, error: str = "") -> Rows:
    """Rows whose every value tells where it belongs: row number, plus a tenth of its place."""
    rows = np.arange(start, start + count, dtype=np.float32)
    scores = rows[:, None] + np.arange(3, dtype=np.float32) / 10
    maps = rows[:, None, None, None] + np.arange(3 * 64, dtype=np.float32).reshape(1, 3, 8, 8) / 1_000
    return Rows(
        statuses=np.full(count, status, np.int8),
        errors=[error] * count,
        logits=scores,
        probabilities=scores / 10,
        predictions=rows.astype(np.int16) % 3,
        targets=np.broadcast_to(np.arange(3, dtype=np.int16), (count, 3)),
        attributions={("cam", "c2"): maps, ("gradcam", "c2"): -maps},
    )


@pytest.fixture
def published(tiny_run: Run, five_records: Records) -> Path:
    """A shard of all five records, of which the last is unreadable."""
    run = replace(tiny_run, shard_size=5)
    with ShardWriter(run, 0, five_records) as writer:
        writer.write(2, make_rows(2, 2))
        writer.write(0, make_rows(0, 2))
        writer.write(4, make_rows(4, 1, Status.UNREADABLE, "e.jpg: die Datei ist beschädigt"))
        assert writer.publish(TIMINGS) is True
    return run.shard_path(0)


def test_what_is_written_out_of_order_is_read_in_order(published: Path) -> None:
    with open_shard(published) as file:
        assert file["image_id"].asstr()[...].tolist() == list("abcde")
        assert file["class_name"].asstr()[...].tolist() == ["bkl", "mel", "nv"]
        np.testing.assert_array_equal(file["label"], [0, 1, 2, -1, 0])
        np.testing.assert_array_equal(file["prediction"], [0, 1, 2, 0, 1])
        np.testing.assert_array_equal(file["target"], [[0, 1, 2]] * 5)
        np.testing.assert_array_equal(file["status"], [0, 0, 0, 0, 2])
        assert file["error"].asstr()[4] == "e.jpg: die Datei ist beschädigt"
        np.testing.assert_allclose(file["logit"][3], [3, 3.1, 3.2], rtol=1e-6)
        np.testing.assert_allclose(file["probability"][3], [0.3, 0.31, 0.32], rtol=1e-6)
        assert file["cam__c2"][3, 2, 7, 7] == np.float32(3.191)
        np.testing.assert_array_equal(file["gradcam__c2"][...], -file["cam__c2"][...])
        np.testing.assert_allclose(file["y_c2"], (np.arange(8) + 0.5) / 8)


def test_every_variable_has_its_dtype_storage_and_attributes(published: Path) -> None:
    with open_shard(published) as file:
        dtypes = {name: one.dtype.name for name, one in file.items() if one.dtype.kind != "O"}
        assert dtypes == {
            "target_rank": "int16", "y_c2": "float64", "x_c2": "float64", "label": "int16",
            "probability": "float32", "logit": "float32", "prediction": "int16", "target": "int16",
            "status": "int8", "cam__c2": "float32", "gradcam__c2": "float32",
        }  # fmt: skip
        cam = file["cam__c2"]
        assert (cam.compression, cam.shuffle, cam.fletcher32) == ("gzip", True, True)
        assert [axis[0].name for axis in cam.dims] == ["/image_id", "/target_rank", "/y_c2", "/x_c2"]
        assert (cam.attrs["method"], cam.attrs["layer"]) == ("cam", "c2")
        assert cam.attrs["references"] == "doi:10.1109/CVPR.2016.319"
        assert all({"long_name", "units"} <= set(one.attrs) for one in file.values())
        assert file["status"].attrs["flag_values"].tolist() == [0, 1, 2, 3, 4, 5]
        meanings = "ok missing unreadable too_large model_error crashed_worker"
        assert file["status"].attrs["flag_meanings"] == meanings


def test_the_root_says_what_run_it_is_of_and_what_it_cost(published: Path, tiny_run: Run) -> None:
    attributes = read_attributes(published)
    assert (attributes["run_id"], attributes["shard"], attributes["revision"]) == ("0123456789ab", 0, 0)
    assert attributes["model_sha256"] == tiny_run.inspection.model_sha256
    assert json.loads(attributes["preprocessing"])["scale"] == "0..1"
    assert attributes["rows_failed"] == 1
    assert (attributes["seconds_reading"], attributes["seconds_computing"]) == (1.5, 2.5)
    assert (attributes["started_at"], attributes["first_batch_at"]) == (100.0, 101.0)
    assert attributes["seconds_writing"] > 0


def test_a_reader_that_follows_the_nexus_default_finds_an_attribution(published: Path) -> None:
    with h5py.File(published) as file:
        group = file[file.attrs["default"]]
        assert group.attrs["NX_class"] == "NXdata"
        assert group[group.attrs["signal"]].name == "/gradcam__c2"
        assert list(group.attrs["axes"]) == [".", ".", "y_c2", "x_c2"]


def test_the_seconds_spent_writing_hold_the_flush(
    tiny_run: Run, five_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.25, 10.0, 14.0])  # before and after the rows, before and after the flush
    with ShardWriter(replace(tiny_run, shard_size=5), 0, five_records) as writer:
        monkeypatch.setattr("time.perf_counter", lambda: next(clock))
        writer.write(0, make_rows(0, 5))
        writer.publish(TIMINGS)
    assert read_attributes(tiny_run.shard_path(0))["seconds_writing"] == 4.25


@pytest.mark.parametrize("locking", [None, True, False, "best-effort"])
def test_a_shard_opens_beside_any_other_handle_on_it(published: Path, locking: bool | str | None) -> None:
    with h5py.File(published, locking=locking), open_shard(published) as file:
        assert file["label"][1] == 1


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_a_shard(published: Path, engine: str) -> None:
    """Each engine in a process of its own: their HDF5 libraries do not share one."""
    pytest.importorskip("xarray")
    script = textwrap.dedent("""
        import sys, json, warnings
        warnings.simplefilter("ignore")
        import xarray
        with xarray.open_dataset(sys.argv[1], engine=sys.argv[2]) as data:
            print(json.dumps({
                "sizes": dict(data.sizes), "ids": data.image_id.values.tolist(),
                "classes": data.class_name.values.tolist(), "labels": data.label.values.tolist(),
                "label_dtype": data.label.dtype.name, "error": data.error.values.tolist()[-1],
                "value": float(data.cam__c2.sel(image_id="d", target_rank=2).values[7, 7]),
                "dims": list(data.cam__c2.dims), "nan": bool(data.logit.isnull().any()),
            }))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(published), engine], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sizes": {"image_id": 5, "class_name": 3, "target_rank": 3, "y_c2": 8, "x_c2": 8},
        "ids": list("abcde"),
        "classes": ["bkl", "mel", "nv"],
        "labels": [0, 1, 2, -1, 0],
        "label_dtype": "int16",
        "error": "e.jpg: die Datei ist beschädigt",
        "value": float(np.float32(3.191)),
        "dims": ["image_id", "target_rank", "y_c2", "x_c2"],
        "nan": False,
    }


def test_multilabel_labels_and_predictions_are_a_matrix(tiny_run: Run, five_records: Records) -> None:
    spec = ModelSpec("multilabel", ("bkl", "mel", "nv"), InputSpec((32, 32)))
    labels = np.array([[1, 0, 1], [-1, -1, -1]], np.int8)
    records = replace(five_records, image_ids=["a", "b"], image_paths=[None, None], labels=labels)
    rows = replace(make_rows(0, 2), predictions=np.array([[1, 1, 0], [0, 0, 0]], np.int8))
    run = replace(tiny_run, spec=spec)
    with ShardWriter(run, 0, records) as writer:
        writer.write(0, rows)
        writer.publish(TIMINGS)
    with open_shard(run.shard_path(0)) as file:
        assert [axis[0].name for axis in file["prediction"].dims] == ["/image_id", "/class_name"]
        np.testing.assert_array_equal(file["label"], labels)
        np.testing.assert_array_equal(file["prediction"], [[1, 1, 0], [0, 0, 0]])


def test_attributions_are_stored_at_the_size_that_was_asked_for(tiny_run: Run) -> None:
    assert attribution_size(tiny_run, "c1") == (16, 16)
    request = ExplainRequest((("gradcam", "c1"),), Targets("predicted", 1), resolution="input")
    assert attribution_size(replace(tiny_run, request=request), "c1") == (32, 32)


def test_a_nested_layer_is_named_with_dots() -> None:
    assert attribution_name("gradcam", "xception/block14_act") == "gradcam__xception.block14_act"


def test_a_row_that_was_never_written_keeps_the_shard_from_being_published(
    tiny_run: Run, five_records: Records
) -> None:
    with ShardWriter(tiny_run, 0, five_records) as writer:
        writer.write(0, make_rows(0, 2))
        writer.write(3, make_rows(3, 1))
        with pytest.raises(ShardError, match="2 rows were never written, first 2"):
            writer.publish(TIMINGS)
    assert not tiny_run.shard_path(0).exists()


def test_leaving_without_publishing_leaves_nothing(tiny_run: Run, five_records: Records) -> None:
    with pytest.raises(KeyboardInterrupt), ShardWriter(tiny_run, 0, five_records) as writer:
        writer.write(0, make_rows(0, 5))
        assert len(os.listdir(tiny_run.building_dir)) == 1
        raise KeyboardInterrupt
    assert os.listdir(tiny_run.building_dir) == []
    assert tiny_run.published_shards() == set()


def test_the_second_writer_leaves_the_first_shard(
    published: Path, tiny_run: Run, five_records: Records
) -> None:
    before = published.read_bytes()
    run = replace(tiny_run, shard_size=5)
    with ShardWriter(run, 0, five_records) as writer:
        writer.write(0, make_rows(5, 5))
        assert writer.publish(TIMINGS) is False
    assert published.read_bytes() == before
    assert os.listdir(run.building_dir) == []


def test_doing_failed_rows_again_makes_a_file_of_its_own(tiny_run: Run, five_records: Records) -> None:
    with ShardWriter(tiny_run, 0, five_records, revision=1) as writer:
        writer.write(0, make_rows(0, 5))
        writer.publish(TIMINGS)
    assert tiny_run.published_shards() == set()
    assert read_attributes(tiny_run.shard_path(0, 1))["revision"] == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from shared.errors import StorageError
from shared.run import read_run
from shared.shard import Rows, ShardWriter, Timings

run, limit = read_run(Path(sys.argv[1])), int(sys.argv[2])
records = run.shard_records(0)
noise = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
rows = Rows(np.zeros(2, np.int8), ["", ""], noise[:, :, 0, 0], noise[:, :, 0, 0], np.zeros(2, np.int16),
            np.zeros((2, 3), np.int16), {pair: noise for pair in run.request.attributions})

def make():
    with ShardWriter(run, 0, records) as writer:
        writer.write(0, rows)
        return writer.publish(Timings(0, 0, 0, 0))

resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    make()
except StorageError as error:
    print("writing failed" in str(error), list(run.building_dir.iterdir()), run.published_shards())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(make(), flush=True)
import os; os._exit(0)  # HDF5 may crash at the end of a process in which closing a file failed
"""


@pytest.mark.parametrize("limit", [0, 10_000, 30_000])
def test_a_full_disk_is_storage_trouble_and_the_next_try_works(run_dir: Run, limit: int) -> None:
    """A limit on the size of files stands for the full disk: HDF5 really fails, at different places."""
    command = [sys.executable, "-c", FULL_DISK, str(run_dir.dir), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["True [] set()", "True"], done.stderr[-2_000:]
    assert run_dir.published_shards() == {0}


def test_a_run_directory_that_cannot_be_written_is_storage_trouble(
    tiny_run: Run, five_records: Records
) -> None:
    tiny_run.dir.mkdir(parents=True)
    (tiny_run.dir / "state").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="writing failed"):
        ShardWriter(tiny_run, 0, five_records)


def test_publishing_that_fails_is_storage_trouble(
    tiny_run: Run, five_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    with (
        pytest.raises(StorageError, match=r"shard-000000000\.h5: writing failed: .*Input/output error"),
        ShardWriter(tiny_run, 0, five_records) as writer,
    ):
        writer.write(0, make_rows(0, 5))
        writer.publish(TIMINGS)
    assert os.listdir(tiny_run.building_dir) == []


def test_a_shard_that_is_not_there_or_damaged_is_named(tmp_path: Path, published: Path) -> None:
    with pytest.raises(ShardError, match=r"no\.h5: the shard is not there"):
        open_shard(tmp_path / "no.h5")
    os.truncate(published, published.stat().st_size // 2)
    with pytest.raises(
        ShardError, match=r"shard-000000000\.h5: the shard cannot be read.*Move the file away"
    ):
        open_shard(published)


def test_a_changed_attribution_is_noticed(published: Path) -> None:
    with h5py.File(published) as file:
        offset = file["cam__c2"].id.get_chunk_info(0).byte_offset
    with published.open("r+b") as handle:
        handle.seek(offset + 20)
        byte = handle.read(1)[0]
        handle.seek(offset + 20)
        handle.write(bytes([byte ^ 0xFF]))
    with open_shard(published) as file, pytest.raises(OSError, match="Can't synchronously read data"):
        file["cam__c2"][...]


def test_what_dead_processes_of_this_machine_left_is_removed(tiny_run: Run) -> None:
    host = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    names = {
        f"shard-000000000.{host}-{dead.pid}-0a1b2c3d.h5": False,
        f"shard-000000000.r2.{host}-{dead.pid}-0a1b2c3d.h5": False,
        f"shard-000000000.{host}-{os.getpid()}-0a1b2c3d.h5": True,
        f"shard-000000000.{host}-2-{dead.pid}-0a1b2c3d.h5": True,  # of a machine named like ours with "-2"
        f"shard-000000000.elsewhere-{dead.pid}-0a1b2c3d.h5": True,
    }
    tiny_run.building_dir.mkdir(parents=True)
    for name in names:
        (tiny_run.building_dir / name).touch()
    remove_abandoned(tiny_run)
    assert set(os.listdir(tiny_run.building_dir)) == {name for name, stays in names.items() if stays}
