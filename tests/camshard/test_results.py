"""An opened run: table, attributions, heatmaps, streams; what is missing, altered or done again."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from made_up_results import RAMP, redo

from camshard.results import open_run
from shared.errors import IncompleteRunError, RequestError, RunError, ShardError
from shared.finish import finish_run
from shared.request import Targets
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
        ({"image_ids": "z"}, "no image 'z'"),
        ({"image_ids": "a", "method": "layercam"}, "There is: cam at c2, gradcam at c2"),
        ({"image_ids": "a", "layer": "c1"}, "There is: cam at c2, gradcam at c2"),
        (
            {"image_ids": "a", "target": "melanoma"},
            "'melanoma' is no class. Classes, by name or index: bkl, mel",
        ),
        ({"image_ids": "a", "target": 1.0}, "1.0 is no class. Classes, by name or index: bkl, mel, nv"),
        ({"image_ids": "a", "target": 7}, "targets: bkl, mel, nv"),
    ],
)
def test_what_is_not_there_is_said(results_dir: Run, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        open_run(results_dir.dir).attribution(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5, 6, 3), (5.0, 6.0), (), 5])
def test_a_heatmap_without_pixels_is_refused(results_dir: Run, size: tuple[int, int]) -> None:
    with pytest.raises(
        RequestError, match=r"size: \(height, width\) in pixels is wanted, or 'image', received"
    ):
        open_run(results_dir.dir).heatmap("a", "cam", size=size)


def test_a_missing_shard_is_named_and_never_reads_as_nothing(results_dir: Run) -> None:
    results_dir.shard_path(1).unlink()
    with pytest.raises(IncompleteRunError, match=r"1 of 3 shards are not there, first shard-000000001\.h5"):
        open_run(results_dir.dir)
    partial = open_run(results_dir.dir, partial=True)
    assert partial.table["image_id"].tolist() == ["a", "b", "e"]
    with pytest.raises(RequestError, match="no image 'c'"):
        partial.attribution("c")


@pytest.mark.parametrize("partial", [False, True])
def test_a_run_without_any_shard_is_refused(run_dir: Run, partial: bool) -> None:
    with pytest.raises(IncompleteRunError, match="no shard is there yet"):
        open_run(run_dir.dir, partial)


def test_a_run_of_labels_gives_the_label_unless_another_target_is_named(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    labels = Targets("label", 3)
    results.run = replace(results.run, request=replace(results.run.request, targets=labels))
    assert results.attribution("e", "cam")[0, 7] == 4  # rank 0, not the predicted class's rank 1


def test_a_folder_without_a_run_is_no_run(results_dir: Run) -> None:
    with pytest.raises(RunError, match=r"no run directory: run\.json"):
        open_run(results_dir.dir / "shards")


def test_the_repr_says_what_is_there(results_dir: Run) -> None:
    text = repr(open_run(results_dir.dir))
    assert "5 records, classes bkl, mel, nv; cam__c2, gradcam__c2" in text


def test_several_ids_are_read_at_once_in_the_order_asked_for(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    found = results.attribution(["e", "a", "d"], "cam", rank=0)
    assert found.shape == (3, 8, 8)
    assert found[:, 0, 7].tolist() == [4, 0, 3]
    assert results.attribution("e", "cam", rank=2)[0, 7] == 6
    heatmaps = results.heatmap(["e", "b"], "cam", size=(16, 16))
    np.testing.assert_array_equal(heatmaps[1], results.heatmap("b", "cam", size=(16, 16)))


def test_a_rank_beyond_the_runs_and_a_rank_beside_a_target_are_refused(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    with pytest.raises(RequestError, match=r"rank: 3 is not within 0\.\.2"):
        results.attribution("a", rank=3)
    with pytest.raises(RequestError, match="target 'mel' and rank 1: name one"):
        results.attribution("a", target="mel", rank=1)


def test_heatmaps_may_be_signed_or_left_as_they_are(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    signed = results.heatmap("b", "cam", normalize="max", size=(8, 8))
    np.testing.assert_allclose(signed[0], RAMP, rtol=1e-6)
    raw = results.heatmap("b", "cam", normalize="none", size=(8, 8))
    np.testing.assert_allclose(raw[0], 2 * RAMP, rtol=1e-6)
    with pytest.raises(RequestError, match="'sum' is not known. There are: relu, max, none"):
        results.heatmap("b", "cam", normalize="sum")


def test_a_heatmap_and_an_overlay_take_the_images_own_size(results_dir: Run, make_images) -> None:
    make_images(results_dir.images.dirs[0], "abde")
    results = open_run(results_dir.dir)
    assert results.heatmap("b", "cam", size="image").shape == (32, 40)
    assert [one.shape for one in results.heatmap(["b", "e"], "cam", size="image")] == [(32, 40)] * 2
    overlay = results.overlay("b", "cam", alpha=0.5)
    assert (overlay.shape, overlay.dtype) == ((32, 40, 3), np.uint8)
    red_right, red_left = overlay[:, -4:, 0].mean(), overlay[:, :4, 0].mean()
    assert red_right > red_left + 50  # the CAM grows to the right; jet's hot end is red


def test_attributions_stream_shard_after_shard(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    batches = list(results.batches("cam"))
    assert [ids for ids, _ in batches] == [["a", "b"], ["c", "d"], ["e"]]
    for ids, values in batches:
        np.testing.assert_array_equal(values, results.attribution(ids, "cam"))
    assert [values.shape for _, values in results.batches("gradcam", all_ranks=True)][2] == (1, 3, 8, 8)
    assert next(results.batches("cam", target="nv"))[1][1, 0, 7] == 3


def test_large_shards_stream_in_blocks(results_dir: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camshard.results._BLOCK_BYTES", 3 * 8 * 8 * 4)
    ids = [ids for ids, _ in open_run(results_dir.dir).batches("cam")]
    assert ids == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_the_table_is_the_same_from_its_file_and_from_the_shards(results_dir: Run) -> None:
    from_shards = open_run(results_dir.dir).table
    finish_run(results_dir)
    pd.testing.assert_frame_equal(open_run(results_dir.dir).table, from_shards)


@pytest.mark.parametrize("rewritten", [False, True])
def test_rows_done_again_are_seen_with_and_without_the_table_rewritten(
    results_dir: Run, rewritten: bool
) -> None:
    finish_run(results_dir)
    redo(results_dir, 1, revision=1, rows=[0], failed=False, value=60)
    if rewritten:
        finish_run(results_dir)
    results = open_run(results_dir.dir)
    assert results.table["status"].tolist() == [0, 0, 0, 0, 0]
    assert results.table["prediction"][2] == "nv"
    assert results.attribution("c", "cam")[3, 3] == 60
    assert dict(zip(*next(islice(results.batches("cam"), 2, None)), strict=True))["c"][0, 0] == 60


def test_a_shard_of_another_size_than_it_was_published_with_is_named(results_dir: Run) -> None:
    finish_run(results_dir)
    path = results_dir.shard_path(2)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(
        ShardError, match=r"shard-000000002\.h5: the shard has \d+ bytes, it was published with"
    ):
        open_run(results_dir.dir)
    partial = open_run(results_dir.dir, partial=True)
    assert partial.missing == (2,)
    assert partial.table["image_id"].tolist() == ["a", "b", "c", "d"]


def test_a_lost_file_of_rows_done_again_is_named(results_dir: Run) -> None:
    redo(results_dir, 1, revision=1, rows=[0], failed=False, value=60)
    finish_run(results_dir)
    results_dir.shard_path(1, 1).unlink()
    with pytest.raises(IncompleteRunError, match=r"shard-000000001\.r1\.h5, which holds rows that were done"):
        open_run(results_dir.dir)
    partial = open_run(results_dir.dir, partial=True)
    assert partial.table["status"].tolist() == [0, 0, 1, 0, 0]
    assert partial.left_out == ("shards/00000/shard-000000001.r1.h5",)
    assert "not read: shards/00000/shard-000000001.r1.h5" in repr(partial)


def test_several_threads_read_at_once(results_dir: Run, make_images) -> None:
    make_images(results_dir.images.dirs[0], "abde")
    results = open_run(results_dir.dir)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image_id: results.attribution(image_id, "cam", rank=0), "abde" * 50))
        pictures = list(pool.map(results.image, "abde" * 50))
    assert [one[0, 7] for one in found] == [0, 1, 3, 4] * 50
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_features_that_were_not_saved_are_refused(results_dir: Run) -> None:
    with pytest.raises(RequestError, match="no features were saved. Plan a new run with --save-features"):
        open_run(results_dir.dir).features()


def test_a_table_that_was_changed_changes_nothing_else(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    table = results.table
    table["mine"] = 1
    table.loc[0, "image_id"] = "z"
    assert results.table["image_id"].tolist() == list("abcde")
    assert "mine" not in results.table


def test_no_ids_give_no_attributions_and_numbers_are_no_ids(results_dir: Run) -> None:
    results = open_run(results_dir.dir)
    assert results.attribution([], "cam").shape == (0, 8, 8)
    assert results.heatmap([], "cam") == []
    for strange in (5, ["a", 5], None):
        with pytest.raises(RequestError, match="image ids are text; received"):
            results.attribution(strange)


def test_a_size_may_be_an_array(results_dir: Run) -> None:
    assert open_run(results_dir.dir).heatmap("b", "cam", size=np.array([3, 4])).shape == (3, 4)
