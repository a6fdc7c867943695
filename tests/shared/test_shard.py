"""A shard: written with h5py, read back with h5py and xarray's two engines."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_shards import TIMINGS, make_rows

from shared.errors import ShardError
from shared.model_spec import InputSpec, ModelSpec
from shared.records import Records
from shared.request import ExplainRequest, Targets
from shared.run import Run
from shared.shard import ShardWriter, open_shard, read_attributes
from shared.shard_layout import attribution_name, attribution_size


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


def test_the_root_says_as_nexus_has_it_that_an_attribution_is_to_be_plotted(published: Path) -> None:
    with h5py.File(published) as file:
        assert file.attrs["NX_class"] == "NXdata" and "default" not in file.attrs
        assert file[file.attrs["signal"]].name == "/gradcam__c2"
        assert list(file.attrs["axes"]) == [".", ".", "y_c2", "x_c2"]


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
