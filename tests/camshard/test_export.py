import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from camshard.export.panels import Panel, choose_panels
from camshard.export.request import ExportRequest, Kind
from camshard.export.rows import Row, Rows, choose_table
from camshard.export.write import export_run
from camshard.results import open_run
from shared.errors import (
    IncompleteRunError,
    MetadataError,
    RequestError,
    SettingsError,
)
from shared.model_spec import ModelSpec
from shared.request import Targets
from shared.run import Run


def chosen_ids(run: Run, **options: object) -> list[str]:
    table = choose_table(open_run(run.dir), ExportRequest(Kind.CSV, **options))  # type: ignore[arg-type]
    return list(table["image_id"])


def test_rows_are_chosen_by_id_value_and_number(results_dir: Run, tmp_path: Path) -> None:
    ids_path = tmp_path / "ids.txt"
    ids_path.write_text("\ufeffe\n\nb\ne\n")
    assert chosen_ids(results_dir) == list("abcde")
    assert chosen_ids(results_dir, ids="e, b,e") == ["e", "b"]
    assert chosen_ids(results_dir, ids=str(ids_path)) == ["e", "b"]
    assert chosen_ids(results_dir, where="prediction=mel") == ["b", "e"]
    assert chosen_ids(results_dir, where="prediction=mel,age=7") == ["e"]
    assert chosen_ids(results_dir, where="status=1") == ["c"]
    assert chosen_ids(results_dir, where="label=bkl,label=mel", limit=2) == ["a", "b"]


def test_rows_that_are_not_there_are_named(results_dir: Run) -> None:
    with pytest.raises(RequestError, match="--ids: 2 of 3 are neither a file nor images of .*, first y, x"):
        chosen_ids(results_dir, ids="y,a,x")
    with pytest.raises(RequestError, match="no row is left of 5"):
        chosen_ids(results_dir, where="label=none")
    with pytest.raises(MetadataError, match="--where site: .*/run has no such column. Columns: image_id"):
        chosen_ids(results_dir, where="site=arm")


def panels(run: Run, **options: str) -> list[tuple[str, str, str]]:
    chosen = choose_panels(run, ExportRequest(Kind.PNG, **options))  # type: ignore[arg-type]
    return [(one.method, one.layer, one.target) for one in chosen]


def test_panels_are_methods_by_layers_by_targets(tiny_run: Run) -> None:
    attributions = (("cam", "c2"), ("gradcam", "c1"), ("gradcam", "c2"))
    run = replace(tiny_run, request=replace(tiny_run.request, attributions=attributions))
    assert panels(run) == [("gradcam", "c2", "predicted")]
    assert panels(run, methods="cam,gradcam") == [("cam", "c2", "predicted"), ("gradcam", "c2", "predicted")]
    assert panels(run, layers="stages") == [("gradcam", "c1", "predicted"), ("gradcam", "c2", "predicted")]
    assert panels(run, methods="gradcam,cam", layers="c1,last", targets="MEL") == [
        ("gradcam", "c1", "mel"),
        ("gradcam", "c2", "mel"),
        ("cam", "c2", "mel"),
    ]
    assert [one[2] for one in panels(run, targets="label,2,rank1")] == ["label", "nv", "rank1"]


def test_a_run_of_labels_shows_the_label_unless_targets_are_named(tiny_run: Run) -> None:
    run = replace(tiny_run, request=replace(tiny_run.request, targets=Targets("label", 1)))
    assert panels(run) == [("gradcam", "c2", "label")]
    assert panels(run, targets="predicted") == [("gradcam", "c2", "predicted")]
    several = replace(run, spec=replace(run.spec, task="multilabel"))
    assert panels(several) == panels(several, targets="label") == [("gradcam", "c2", "rank0")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"methods": "layercam"}, "no layercam at any layer. There is: cam at c2, gradcam at c2"),
        ({"layers": "c1"}, "no gradcam at c1"),
        ({"layers": "last,c1"}, "no gradcam at c1"),
        ({"targets": "melanoma"}, "'melanoma' is no class"),
        ({"targets": "3"}, "'3' is no class. Classes: bkl, mel, nv"),
        ({"targets": "rank3"}, "--targets rank3: the run has rank0 to rank2"),
    ],
)
def test_panels_that_the_run_does_not_have_are_named(
    tiny_run: Run, options: dict[str, str], text: str
) -> None:
    with pytest.raises(RequestError, match=text):
        panels(tiny_run, **options)


def test_a_target_is_a_class_of_each_image() -> None:
    row = Row("a", None, 0, "", "nv", "mel", ("mel", "nv"), {"bkl": 0.1, "mel": 0.5, "nv": 0.4})
    names = [Panel("cam", "c2", target).class_name(row) for target in ("predicted", "label", "rank1", "mel")]
    assert names == ["mel", "nv", "nv", "mel"]


def test_rows_of_several_labels_name_those_they_have(tiny_run: Run) -> None:
    run = replace(tiny_run, spec=ModelSpec("multilabel", ("x", "y"), None))  # type: ignore[arg-type]
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"], "status": [0, 0, 1], "error": ["", "", "gone"],
            "label_x": [1, 0, -1], "label_y": [1, 0, -1], "probability_x": [0.2, 0.9, np.nan],
            "probability_y": [0.7, 0.6, np.nan], "prediction_x": [0, 1, -1], "prediction_y": [0, 1, -1],
        }
    )  # fmt: skip
    rows = list(Rows(table, run, [None] * 3, np.array([[1, -1], [0, 1], [-1, -1]], np.int16)))
    assert [row.label for row in rows] == ["x, y", "none", None]
    assert [row.prediction for row in rows] == ["y", "x", None]
    assert [row.targets for row in rows] == [("y", None), ("x", "y"), (None, None)]


def test_an_option_that_means_nothing_is_refused(results_dir: Run) -> None:
    with pytest.raises(SettingsError, match="--alpha means nothing for --to csv, but for png, figure"):
        export_run(results_dir.dir, ExportRequest(Kind.CSV, alpha=0.4))
    with pytest.raises(SettingsError, match="--ids means nothing for --to hdf5"):
        export_run(results_dir.dir, ExportRequest(Kind.HDF5, ids="a"))


def test_tables_hold_the_chosen_rows(results_dir: Run, tmp_path: Path) -> None:
    outcome = export_run(results_dir.dir, ExportRequest(Kind.CSV, where="prediction=mel"))
    assert outcome.path == results_dir.dir / "exports" / "table.csv"
    written = pd.read_csv(outcome.path)
    assert written["image_id"].tolist() == ["b", "e"]
    np.testing.assert_allclose(written["probability_mel"], 0.8, rtol=1e-6)
    export_run(results_dir.dir, ExportRequest(Kind.PARQUET, out=tmp_path))
    exact = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(exact, open_run(results_dir.dir).table)


def test_one_hdf5_file_holds_the_whole_run(results_dir: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.h5"
    assert str(export_run(results_dir.dir, ExportRequest(Kind.HDF5, out=path))) == f"5 records → {path}"
    with h5py.File(path) as file:
        assert file["image_id"].asstr()[...].tolist() == list("abcde")
        np.testing.assert_allclose(file["cam__c2"][4, 1, 0], 5 * np.linspace(-1, 1, 8), rtol=1e-6)


def test_an_unfinished_run_is_exported_when_asked(results_dir: Run) -> None:
    results_dir.shard_path(1).unlink()
    with pytest.raises(IncompleteRunError):
        export_run(results_dir.dir, ExportRequest(Kind.CSV))
    assert export_run(results_dir.dir, ExportRequest(Kind.CSV, partial=True)).made == 3


def test_pictures_are_strips_of_the_image_and_its_overlays(pictured_run: Run, tmp_path: Path) -> None:
    request = ExportRequest(Kind.PNG, out=tmp_path / "png", methods="cam,gradcam", targets="bkl", alpha=0.5)
    outcome = export_run(pictured_run.dir, request)
    assert (outcome.made, [one.image_id for one in outcome.skipped]) == (4, ["c"])
    assert "; 1 skipped, the first c: no file" in str(outcome)
    strip = cv2.imread(str(tmp_path / "png" / "a.png"), cv2.IMREAD_COLOR_RGB)
    image = open_run(pictured_run.dir).image("a")
    assert strip.shape == (32, 3 * 40 + 2 * 8, 3)
    np.testing.assert_array_equal(strip[:, :40], image)
    cold = np.round(image / 2 + np.array([0, 0, 127]) / 2)  # a's attribution of bkl is 0 everywhere
    np.testing.assert_allclose(strip[:, 48:88], cold, atol=1)
    np.testing.assert_array_equal(strip[:, 48:88], strip[:, 96:])
    overlay = open_run(pictured_run.dir).overlay("e", "cam", target="bkl", alpha=0.5)
    of_e = cv2.imread(str(tmp_path / "png" / "e.png"), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(of_e[:, 48:88], overlay)
    assert overlay[0, -1, 0] > overlay[0, 0, 0], "the attribution grows to the right"
    index = pd.read_csv(tmp_path / "png" / "index.csv")
    assert index["file"].tolist() == ["a.png", "b.png", "d.png", "e.png"]
    assert index["heatmap_2"][1] == "gradcam at c2 for bkl"


def test_an_image_without_the_target_is_skipped_and_nothing_at_all_is_an_error(pictured_run: Run) -> None:
    outcome = export_run(pictured_run.dir, ExportRequest(Kind.PNG, ids="d,e", targets="label"))
    assert [str(one.reason) for one in outcome.skipped] == ["it has no label."]
    with pytest.raises(RequestError, match="none of 1 images has anything to draw; the first, c: no file"):
        export_run(pictured_run.dir, ExportRequest(Kind.PNG, ids="c"))


def test_an_image_that_is_gone_since_is_skipped(pictured_run: Run, tmp_path: Path) -> None:
    (tmp_path / "images" / "b.jpg").unlink()
    outcome = export_run(pictured_run.dir, ExportRequest(Kind.PNG, ids="a,b"))
    assert [(one.image_id, "no such file" in one.reason) for one in outcome.skipped] == [("b", True)]


def export(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "camshard", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_exports_and_says_what_and_where(pictured_run: Run) -> None:
    table = export(pictured_run.dir, "--to", "csv", "--limit", 2)
    assert (table.returncode, table.stdout) == (0, f"2 rows → {pictured_run.dir}/exports/table.csv\n")
    pictures = export(pictured_run.dir, "--to", "png")
    assert pictures.returncode == 3, "c was skipped"
    assert f"4 pictures → {pictured_run.dir}/exports/overlays; 1 skipped" in pictures.stdout
    assert "each: image | Grad-CAM at c2, predicted" in pictures.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--to", "excel"], 2, "'excel' is not one of"),
        ([], 2, "Missing option '--to'"),
        (
            ["--to", "csv", "--format", "pdf"],
            2,
            "error: --format means nothing for --to csv, but for figure.",
        ),
        (["--to", "png", "--colormap", "hot"], 1, "error: colormap: 'hot' is not known."),
    ],
)
def test_the_command_says_what_is_wrong(results_dir: Run, arguments: list[str], code: int, text: str) -> None:
    done = export(results_dir.dir, *arguments)
    assert done.returncode == code
    assert text in done.stderr
