"""A figure for a paper: a row an image, left the image, beside it its heatmaps in jet."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from camshard.export.outcome import Outcome, Skipped, attempt, check_some
from camshard.export.pictures import Drawer
from camshard.export.request import Format
from camshard.export.rows import Row, Rows
from camshard.output import replacing
from camshard.overlay import Pixels
from shared.errors import MissingExtraError, RequestError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 100
_PANEL_INCHES = 2.3
_TITLE_INCHES = 0.36
_TITLE_POINTS = 7
_DPI = 300
_SETTINGS = {
    "pdf.fonttype": 42,
    "svg.hashsalt": "camshard",
}  # fonts that publishers accept; the same file twice
_METADATA: dict[Format, dict[str, Any]] = {
    Format.PDF: {"Creator": "camshard", "CreationDate": None},
    Format.SVG: {"Creator": "camshard", "Date": None},
    Format.PNG: {"Software": "camshard"},
}


def export_figure(drawer: Drawer, rows: Rows, path: Path, file_format: Format) -> Outcome:
    """Write one figure with a row for each image.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RequestError: too many images for one figure, or none has anything to draw.
        OSError: as the file system says.
    """
    matplotlib = _import_matplotlib()
    if len(rows) > MOST_ROWS:
        raise RequestError(
            f"{len(rows):,} images do not fit in one figure (at most {MOST_ROWS}). "
            "Choose with --ids, --where or --limit."
        )
    tried = [(row, attempt(row, drawer.draw)) for row in rows]
    drawn = [(row, pictures) for row, pictures in tried if not isinstance(pictures, Skipped)]
    skipped = [one for _, one in tried if isinstance(one, Skipped)]
    check_some(skipped, len(rows))
    with matplotlib.rc_context(_SETTINGS), replacing(path) as new_path:
        figure = draw_figure(drawer, drawn, file_format)
        figure.savefig(new_path, format=file_format, dpi=_DPI, metadata=_METADATA[file_format])
    return Outcome(path, len(drawn), "images in a figure", tuple(skipped))


def draw_figure(drawer: Drawer, drawn: list[tuple[Row, list[Pixels]]], file_format: Format) -> "Figure":
    """Set the pictures of each row side by side under their titles."""
    from matplotlib.figure import Figure

    heights = [_PANEL_INCHES * pictures[0].shape[0] / pictures[0].shape[1] for _, pictures in drawn]
    columns = 1 + len(drawer.panels)
    size = (_PANEL_INCHES * columns, sum(heights) + _TITLE_INCHES * len(drawn))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(drawn), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (row, pictures) in zip(grid, drawn, strict=True):
        titles = [_image_title(row), *(_panel_title(drawer, place, row) for place in range(columns - 1))]
        for one, picture, title in zip(axes, pictures, titles, strict=True):
            _show(one, picture, title, file_format)
    return figure


def _show(axes: "Axes", picture: Pixels, title: str, file_format: Format) -> None:
    # "none" puts the picture's own pixels into PDF and SVG; a PNG is resampled to its dots
    axes.imshow(picture, interpolation="antialiased" if file_format is Format.PNG else "none")
    axes.set_title(title, fontsize=_TITLE_POINTS, parse_math=False)
    axes.set_axis_off()


def _image_title(row: Row) -> str:
    return f"{row.image_id}\nlabel: {row.label or 'unknown'}"


def _panel_title(drawer: Drawer, place: int, row: Row) -> str:
    panel = drawer.panels[place]
    name = panel.class_name(row)
    said = "predicted: " if name == row.prediction else ""
    return f"{panel.title}\n{said}{name}, probability {row.probabilities[name]:.2f}"


def _import_matplotlib() -> ModuleType:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            "figures are drawn with matplotlib, which is not installed: pip install 'camshard[report]'"
        ) from error
    return matplotlib
