"""A run as one lazy xarray.Dataset."""

import numpy as np
import pytest
from made_up_results import RAMP, redo

from camshard.results import open_run
from shared.finish import finish_run
from shared.run import Run

xarray = pytest.importorskip("xarray")


def test_a_dataset_has_the_names_axes_and_attributes_of_a_shard(results_dir: Run) -> None:
    dataset = open_run(results_dir.dir).dataset()
    with xarray.open_dataset(results_dir.shard_path(0), engine="h5netcdf") as shard:
        for name in shard.variables:
            assert dataset[name].dims == shard[name].dims, name
            wanted = {key: value for key, value in shard[name].attrs.items() if key != "_FillValue"}
            assert {key: dataset[name].attrs.get(key) for key in wanted if key != "flag_values"} == {
                key: value for key, value in wanted.items() if key != "flag_values"
            }
            assert dataset[name].dtype == shard[name].dtype or dataset[name].dtype.kind in "OU"
        assert dataset.attrs["run_id"] == shard.attrs["run_id"]
    assert dataset["metadata_age"].values[0] == 80
    assert dataset["label"].values.tolist() == [0, 1, 2, -1, 0]


def test_attributions_are_read_when_they_are_computed(results_dir: Run) -> None:
    dataset = open_run(results_dir.dir).dataset()
    cam = dataset["cam__c2"]
    assert cam.chunks[0] == (2, 2, 1)
    np.testing.assert_allclose(cam.sel(image_id="e")[1, 0].values, 5 * RAMP)
    np.testing.assert_allclose(cam.isel(target_rank=0, y_c2=0, x_c2=7).values, [0, 1, np.nan, 3, 4])
    results_dir.shard_path(2).unlink()
    np.testing.assert_allclose(cam[1, 0, 0].values, RAMP)  # another file than the one that went
    with pytest.raises(Exception, match="the shard is not there"):
        cam[4].compute()


def test_rows_done_again_lie_in_their_place(results_dir: Run) -> None:
    redo(results_dir, 1, revision=1, rows=[0], failed=False, value=60)
    cam = open_run(results_dir.dir).dataset()["cam__c2"][:, 0, 0, 7]
    np.testing.assert_allclose(cam.values, [0, 1, 60, 3, 4])


def test_large_shards_are_chunked(results_dir: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    redo(results_dir, 1, revision=1, rows=[0], failed=False, value=60)
    whole = open_run(results_dir.dir).dataset()["cam__c2"].values
    monkeypatch.setattr("camshard.dataset._BLOCK_BYTES", 1)
    cam = open_run(results_dir.dir).dataset()["cam__c2"]
    assert cam.chunks[0] == (1, 1, 1, 1, 1)
    np.testing.assert_array_equal(cam.values, whole)


def test_the_dataset_equals_the_index(results_dir: Run) -> None:
    finish_run(results_dir)
    dataset = open_run(results_dir.dir).dataset()
    with xarray.open_dataset(results_dir.index_path, engine="h5netcdf") as index:
        assert set(dataset.variables) == set(index.variables)
        for name in index.variables:
            np.testing.assert_array_equal(dataset[name].values, index[name].values, name)


def test_a_partial_run_leaves_its_missing_records_out(results_dir: Run) -> None:
    results_dir.shard_path(1).unlink()
    dataset = open_run(results_dir.dir, partial=True).dataset()
    assert dataset["image_id"].values.tolist() == ["a", "b", "e"]
    assert dataset["cam__c2"].shape[0] == 3
