import sys
from pathlib import Path

import numpy as np
import pytest

from camshard.export import figure
from camshard.export.panels import choose_panels
from camshard.export.pictures import Drawer
from camshard.export.request import ExportRequest, Format, Kind
from camshard.export.rows import choose_rows
from camshard.export.write import export_run
from camshard.overlay import draw_overlay
from camshard.results import open_run
from shared.errors import MissingExtraError, RequestError, SettingsError
from shared.run import Run


def test_a_figure_has_a_row_an_image_with_label_and_probability(pictured_run: Run) -> None:
    results = open_run(pictured_run.dir)
    request = ExportRequest(Kind.FIGURE, ids="e,d", methods="cam,gradcam", targets="mel")
    drawer = Drawer(results, choose_panels(results.run, request), request.style)
    drawn = [(row, drawer.draw(row)) for row in choose_rows(results, request)]
    axes = figure.draw_figure(drawer, drawn, Format.PDF).axes
    assert [one.get_title() for one in axes] == [
        "e\nlabel: bkl", "CAM at c2\npredicted: mel, probability 0.80",
        "Grad-CAM at c2\npredicted: mel, probability 0.80",
        "d\nlabel: unknown", "CAM at c2\nmel, probability 0.10", "Grad-CAM at c2\nmel, probability 0.10",
    ]  # fmt: skip
    image, heatmap = results.image("e"), results.heatmap("e", "cam", target="mel", size=(32, 40))
    np.testing.assert_array_equal(axes[0].images[0].get_array(), image)
    np.testing.assert_array_equal(axes[1].images[0].get_array(), draw_overlay(image, heatmap, alpha=0.3))


@pytest.mark.parametrize(("ending", "magic"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_ending_of_out_is_the_format_and_the_same_figure_the_same_file(
    pictured_run: Run, tmp_path: Path, ending: str, magic: bytes
) -> None:
    path = tmp_path / f"figure.{ending}"
    first, second = ((export_run(pictured_run.dir, request), path.read_bytes()) for request in (
        ExportRequest(Kind.FIGURE, out=path), ExportRequest(Kind.FIGURE, out=path)
    ))  # fmt: skip
    assert first[0].path == path
    assert first[1].startswith(magic)
    assert first[1] == second[1]
    assert [one.image_id for one in first[0].skipped] == ["c"]


def test_pdf_is_the_default_and_an_ending_is_added(pictured_run: Run, tmp_path: Path) -> None:
    def path_of(**options: object) -> Path:
        return export_run(pictured_run.dir, ExportRequest(Kind.FIGURE, ids="a", **options)).path  # type: ignore[arg-type]

    assert path_of() == pictured_run.dir / "exports" / "figure.pdf"
    assert path_of(format=Format.SVG) == pictured_run.dir / "exports" / "figure.svg"
    assert path_of(out=tmp_path / "fig1.b") == tmp_path / "fig1.b.pdf"
    assert path_of(out=tmp_path, format=Format.PNG) == tmp_path / "figure.png"
    with pytest.raises(SettingsError, match=r"--format svg: --out .*fig.pdf ends otherwise"):
        path_of(out=tmp_path / "fig.pdf", format=Format.SVG)


def test_a_dollar_in_an_id_is_no_formula(pictured_run: Run, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    figure._show(axes, np.zeros((2, 2, 3), np.uint8), "$\\frac{", Format.PDF)
    axes.figure.savefig(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").exists()


def test_more_images_than_a_figure_holds_are_refused(
    pictured_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure, "MOST_ROWS", 4)
    with pytest.raises(RequestError, match=r"5 images do not fit in one figure \(at most 4\)"):
        export_run(pictured_run.dir, ExportRequest(Kind.FIGURE))


def test_a_missing_matplotlib_is_said_with_the_way_to_get_it(
    pictured_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'camshard\[report\]'"):
        export_run(pictured_run.dir, ExportRequest(Kind.FIGURE, ids="a"))
