"""What `camshard export` is asked for."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import SettingsError
from shared.settings import flag_of

_ROWS = ("ids", "where", "limit")
_PANELS = ("methods", "layers", "targets")


class Kind(StrEnum):
    """What a run is turned into."""

    CSV = "csv"
    PARQUET = "parquet"
    HDF5 = "hdf5"
    PNG = "png"
    FIGURE = "figure"
    FIFTYONE = "fiftyone"


_TAKEN = {  # options that mean something, besides --to, --out and --partial
    Kind.CSV: _ROWS,
    Kind.PARQUET: _ROWS,
    Kind.HDF5: (),
    Kind.PNG: (*_ROWS, *_PANELS, "colormap", "alpha"),
    Kind.FIGURE: (*_ROWS, *_PANELS, "colormap", "alpha", "format"),
    Kind.FIFTYONE: (*_ROWS, *_PANELS),
}


class Format(StrEnum):
    """File formats of figures."""

    PDF = "pdf"
    SVG = "svg"
    PNG = "png"


@dataclass(frozen=True)
class ExportRequest:
    """The options of `camshard export`; None: not given.

    Attributes:
        ids: a file of image ids, one a line, or ids with commas between.
        where, methods, layers, targets: with commas between.
    """

    to: Annotated[
        Kind,
        typer.Option(
            help="csv or parquet: the table; hdf5: the whole run as one file; png: overlays; figure: for a "
            "paper; fiftyone: a FiftyOne dataset."
        ),
    ]
    out: Annotated[
        Path | None,
        typer.Option(
            help="File, or folder of png and fiftyone. Default: in RUN/exports.", show_default=False
        ),
    ] = None
    ids: Annotated[
        str | None,
        typer.Option(
            help="Only these images, in this order: a file, one id a line, or ids: A,B,…", metavar="FILE|IDS"
        ),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(help="Only rows of the table with COLUMN=VALUE,…; all columns must match."),
    ] = None
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N of them.")] = None
    methods: Annotated[
        str | None,
        typer.Option(help="Methods of the run, cam,gradcam. Default: gradcam, or the run's first."),
    ] = None
    layers: Annotated[
        str | None, typer.Option(help="Layers of the run: names, last, or stages. Default: its last.")
    ] = None
    targets: Annotated[
        str | None,
        typer.Option(
            help="predicted, label, class names, or rank0, rank1, … of those explained. Default: predicted; "
            "label in a run of labels."
        ),
    ] = None
    colormap: Annotated[str | None, typer.Option(help="jet, viridis or turbo. Default: jet.")] = None
    alpha: Annotated[
        float | None,
        typer.Option(
            help="How much of the colour is seen, 0..1. Default: 0.4; figure: 0.3.", metavar="NUMBER"
        ),
    ] = None
    format: Annotated[
        Format | None,
        typer.Option(help="Of a figure: pdf, svg or png. Default: by the ending of --out, or pdf."),
    ] = None
    partial: Annotated[bool, typer.Option("--partial", help="Export what there is of an unfinished run.")] = (
        False
    )

    @property
    def style(self) -> tuple[float, str]:
        """How overlays are drawn: alpha and colormap."""
        alpha = 0.3 if self.to is Kind.FIGURE else 0.4
        return alpha if self.alpha is None else self.alpha, self.colormap or "jet"


def check_request(request: ExportRequest) -> None:
    """Raise SettingsError where an option is given that means nothing for this kind of export."""
    options = {name for names in _TAKEN.values() for name in names}
    for name in sorted(options - set(_TAKEN[request.to])):
        if getattr(request, name) is not None:
            takers = ", ".join(kind for kind, names in _TAKEN.items() if name in names)
            raise SettingsError(f"{flag_of(name)} means nothing for --to {request.to}, but for {takers}.")


def split(text: str | None) -> tuple[str, ...]:
    """Return the parts of a comma-separated option."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
