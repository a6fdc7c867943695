"""Where an export goes: never over the run itself, nor over what is not its own."""

from pathlib import Path

import pandas as pd
import pytest

from camshard.export.pictures import _merge, _read_index
from camshard.export.request import ExportRequest, Kind
from camshard.export.table import write_csv
from camshard.export.write import export_run
from shared.errors import (
    SettingsError,
    StorageError,
)
from shared.run import Run


def test_a_place_that_cannot_be_written_is_named(results_dir: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="x.csv: the export cannot be written: .* Name another place"):
        export_run(results_dir.dir, ExportRequest(Kind.CSV, out=tmp_path / "file" / "x.csv"))


@pytest.mark.parametrize(("kind", "source"), [(Kind.PNG, "images"), (Kind.CSV, "metadata.csv")])
def test_no_export_is_written_over_what_the_run_was_made_from(
    pictured_run: Run, tmp_path: Path, kind: Kind, source: str
) -> None:
    (tmp_path / "metadata.csv").write_text("image_id\n")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(SettingsError, match="the run was made from it. Name another place"):
        export_run(pictured_run.dir, ExportRequest(kind, out=tmp_path / source))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("place", [".", "shards", "shards/00000", "other", "exports/../shards"])
def test_no_export_is_written_among_the_runs_own_files(results_dir: Run, kind: Kind, place: str) -> None:
    before = sorted(results_dir.dir.rglob("*"))
    with pytest.raises(
        SettingsError, match=r"among the run's own files\. Name a place outside .*/run, or bel"
    ):
        export_run(results_dir.dir, ExportRequest(kind, out=results_dir.dir / place))
    assert sorted(results_dir.dir.rglob("*")) == before


def test_no_file_of_the_run_is_replaced_by_any_way_to_it(results_dir: Run, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(results_dir.dir)
    content = results_dir.shard_path(0).read_bytes()
    for path in (
        results_dir.shard_path(0),
        tmp_path / "link" / results_dir.shard_path(0).relative_to(results_dir.dir),
    ):
        with pytest.raises(SettingsError, match="among the run's own files"):
            export_run(results_dir.dir, ExportRequest(Kind.HDF5, out=path))
    for name in ("table.parquet", "manifest.parquet"):
        with pytest.raises(SettingsError, match="among the run's own files"):
            export_run(results_dir.dir, ExportRequest(Kind.PARQUET, out=results_dir.dir / name))
    assert results_dir.shard_path(0).read_bytes() == content
    below = results_dir.dir / "exports"
    assert export_run(results_dir.dir, ExportRequest(Kind.CSV, out=below)).path == below / "table.csv"
    assert export_run(results_dir.dir, ExportRequest(Kind.CSV, out=below / "x.csv")).path == below / "x.csv"


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        (Kind.CSV, "t.parquet", "t.parquet: --to csv writes a file that ends in .csv. Name such a one"),
        (Kind.PARQUET, "t.CSV", "writes a file that ends in .parquet or .pq"),
        (Kind.HDF5, "t.csv", "writes a file that ends in .h5 or"),
        (Kind.FIGURE, "t.h5", "writes a file that ends in .pdf or .svg or .png"),
        (Kind.PNG, "t.png", "t.png: --to png writes a folder"),
        (Kind.FIFTYONE, "t.csv", "--to fiftyone writes a folder"),
    ],
)
def test_an_ending_of_another_kind_is_refused(
    results_dir: Run, tmp_path: Path, kind: Kind, name: str, text: str
) -> None:
    with pytest.raises(SettingsError, match=text):
        export_run(results_dir.dir, ExportRequest(kind, out=tmp_path / name))
    assert not (tmp_path / name).exists()


def test_an_ending_of_no_kind_is_taken_as_it_is(results_dir: Run, tmp_path: Path) -> None:
    assert export_run(results_dir.dir, ExportRequest(Kind.CSV, out=tmp_path / "t.txt")).path.suffix == ".txt"


def test_the_index_keeps_the_lines_of_earlier_pictures(pictured_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "png"
    export_run(pictured_run.dir, ExportRequest(Kind.PNG, out=out, ids="a,b,d", targets="bkl"))
    (out / "d.png").unlink()
    export_run(pictured_run.dir, ExportRequest(Kind.PNG, out=out, ids="e,b", targets="mel,nv"))
    index = pd.read_csv(out / "index.csv", keep_default_na=False)
    assert index["file"].tolist() == ["a.png", "e.png", "b.png"], "d.png is gone, and b.png was drawn again"
    assert index["heatmap_1"].tolist() == [f"gradcam at c2 for {one}" for one in ("bkl", "mel", "mel")]
    assert index["heatmap_2"].tolist() == ["", *["gradcam at c2 for nv"] * 2]


def test_an_id_that_looks_like_a_formula_comes_once_into_the_index(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    line = pd.DataFrame({"image_id": ["=1+1"], "file": ["x.png"]})
    write_csv(line, tmp_path / "index.csv")
    earlier = _read_index(tmp_path / "index.csv")
    assert len(_merge(earlier, line.assign(file="y.png"), tmp_path)) == 1
    kept = _merge(earlier, pd.DataFrame({"image_id": ["b"], "file": ["b.png"]}), tmp_path)
    write_csv(kept, tmp_path / "index.csv")
    assert (tmp_path / "index.csv").read_text() == "image_id,file\n'=1+1,x.png\nb,b.png\n"


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00"])
def test_an_index_that_is_another_file_is_not_replaced(
    pictured_run: Run, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    with pytest.raises(StorageError, match="index.csv: this is no index of pictures"):
        export_run(pictured_run.dir, ExportRequest(Kind.PNG, out=tmp_path))
    assert (tmp_path / "index.csv").read_bytes() == content
    assert not (tmp_path / "a.png").exists()
