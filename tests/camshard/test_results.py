import subprocess
import sys

import numpy as np
import pytest

from camshard.results import open_run
from shared.errors import IncompleteRunError, RequestError, RunError
from shared.run import Run


def test_the_table_has_a_row_a_record_in_order(results_dir: Run) -> None:
    table = open_run(results_dir.dir).table
    assert table["image_id"].tolist() == ["a", "b", "c", "d", "e"]
    assert table["label"].tolist()[:3] == ["bkl", "mel", "nv"]
    assert table["label"].isna().tolist() == [False, False, False, True, False]
    assert table["prediction"].tolist()[:2] == ["bkl", "mel"]
    assert table["prediction"].isna().tolist() == [False, False, True, False, False]
    assert table["status"].tolist() == [0, 0, 1, 0, 0]
    assert table["error"].tolist() == ["", "", "no file", "", ""]
    np.testing.assert_allclose(table["probability_mel"].to_numpy()[[0, 1, 3, 4]], [0.1, 0.8, 0.1, 0.8])
    assert np.isnan(table["probability_mel"][2])


OPENED_BY_OTHERS = """
import sys, warnings
warnings.simplefilter("ignore")
import h5py, xarray
import camshard
run = camshard.open_run(sys.argv[1])
path, opener = run.run.shard_path(0), sys.argv[2]
held = h5py.File(path) if opener == "h5py" else xarray.open_dataset(path, engine=opener)
print(len(run.table), run.attribution("a", "cam").shape, run.heatmap("b", "cam").shape, held is not None)
"""


@pytest.mark.parametrize("opener", ["h5netcdf", "netcdf4", "h5py"])
def test_a_run_reads_while_the_user_has_a_shard_open(results_dir: Run, opener: str) -> None:
    pytest.importorskip("xarray")
    command = [sys.executable, "-c", OPENED_BY_OTHERS, str(results_dir.dir), opener]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "5 (8, 8) (32, 32) True\n", done.stderr


def test_an_attribution_is_raw_and_of_the_predicted_class_unless_named(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    row = np.linspace(-1, 1, 8, dtype=np.float32)
    np.testing.assert_allclose(results.attribution("e", "cam")[0], (4 + 1) * row, rtol=1e-6)
    np.testing.assert_allclose(results.attribution("e", "cam", target="NV")[0], (4 + 2) * row, rtol=1e-6)
    for first in (0, np.int64(0), "bkl"):
        np.testing.assert_allclose(results.attribution("e", "cam", target=first)[0], 4 * row, rtol=1e-6)
    np.testing.assert_allclose(results.attribution("e"), results.attribution("e", "cam") / 64, rtol=1e-6)


def test_a_heatmap_is_relu_scaled_to_one_and_resized_by_pixel_centres(results_dir: Run) -> None:
    heatmap = open_run(results_dir.dir).heatmap("b", "cam", size=(16, 16))
    assert heatmap.shape == (16, 16)
    assert (heatmap.min(), heatmap.max()) == (0, 1)
    positive = np.maximum(np.linspace(-1, 1, 8), 0)
    by_hand = 0.75 * positive[6] + 0.25 * positive[5]  # pixel 12 lies a quarter left of centre 6
    np.testing.assert_allclose(heatmap[3, 12], by_hand, rtol=1e-5)


def test_a_heatmap_without_anything_positive_is_zero(results_dir: Run) -> None:
    assert (open_run(results_dir.dir).heatmap("a", "cam", target=0) == 0).all()


def test_a_failed_row_reads_as_nan(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    assert np.isnan(results.attribution("c")).all()
    assert np.isnan(results.heatmap("c", target="mel")).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"image_id": "z"}, "no image 'z'"),
        ({"image_id": "a", "method": "layercam"}, "There is: cam at c2, gradcam at c2"),
        ({"image_id": "a", "layer": "c1"}, "There is: cam at c2, gradcam at c2"),
        (
            {"image_id": "a", "target": "melanoma"},
            "'melanoma' is no class. Classes, by name or index: bkl, mel",
        ),
        ({"image_id": "a", "target": 1.0}, "1.0 is no class. Classes, by name or index: bkl, mel, nv"),
        ({"image_id": "a", "target": 7}, "targets: bkl, mel, nv"),
    ],
)
def test_what_is_not_there_is_said(results_dir: Run, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        open_run(results_dir.dir).attribution(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5, 6, 3), (5.0, 6.0), (), 5])
def test_a_heatmap_without_pixels_is_refused(results_dir: Run, size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match=r"size: \(height, width\) in pixels is wanted, received"):
        open_run(results_dir.dir).heatmap("a", "cam", size=size)


def test_a_missing_shard_is_named_and_never_reads_as_nothing(results_dir: Run) -> None:
    results_dir.shard_path(1).unlink()
    with pytest.raises(IncompleteRunError, match=r"1 of 3 shards are not there, first shard-000000001\.h5"):
        open_run(results_dir.dir)
    partial = open_run(results_dir.dir, partial=True)
    assert partial.table["image_id"].tolist() == ["a", "b", "e"]
    with pytest.raises(RequestError, match="no image 'c'"):
        partial.attribution("c")


def test_a_folder_without_a_run_is_no_run(results_dir: Run) -> None:
    with pytest.raises(RunError, match=r"no run directory: run\.json"):
        open_run(results_dir.dir / "shards")


def test_the_repr_says_what_is_there(results_dir: Run) -> None:
    text = repr(open_run(results_dir.dir))
    assert "5 records, classes bkl, mel, nv; cam__c2, gradcam__c2" in text
