"""A run → CSV, Parquet, one HDF5 file, PNG overlays, a figure, a FiftyOne dataset."""

from pathlib import Path

from camshard.export.fiftyone import export_fiftyone
from camshard.export.figure import export_figure
from camshard.export.outcome import Outcome
from camshard.export.panels import choose_panels
from camshard.export.pictures import Drawer, export_pictures
from camshard.export.request import ExportRequest, Format, Kind, check_request
from camshard.export.rows import choose_rows, choose_table
from camshard.export.table import write_csv, write_parquet
from camshard.output import replacing
from camshard.overlay import check_style
from camshard.results import Results, open_run
from shared.errors import SettingsError, StorageError
from shared.index import write_merged
from shared.places import find_places
from shared.run import Run

_ENDINGS = {
    Kind.CSV: (".csv",),
    Kind.PARQUET: (".parquet", ".pq"),
    Kind.HDF5: (".h5", ".hdf5", ".hdf", ".nc"),
    Kind.FIGURE: tuple(f".{one}" for one in Format),
}
_NAMES = {
    Kind.CSV: "table.csv",
    Kind.PARQUET: "table.parquet",
    Kind.HDF5: "results.h5",
    Kind.PNG: "overlays",
    Kind.FIGURE: "figure",
    Kind.FIFTYONE: "fiftyone",
}


def export_run(run_dir: Path, request: ExportRequest) -> Outcome:
    """Write what is asked for; a file appears whole or not at all.

    Raises:
        SettingsError: options that do not go together, or an --out that cannot be.
        RequestError, MetadataError: what is asked for is not in the run.
        RunError, ShardError: the run cannot be opened.
        MissingExtraError: a figure without matplotlib.
        StorageError: the export cannot be written.
    """
    check_request(request)
    check_style(*request.style)
    results = open_run(run_dir, request.partial)
    out_path = _out_path(results.run.dir, request)
    _check_sources(out_path, results.run)
    try:
        return _write(results, request, out_path)
    except OSError as error:
        raise StorageError(
            f"{out_path}: the export cannot be written: {error.strerror or error}. "
            "Name another place with --out."
        ) from error


def _write(results: Results, request: ExportRequest, out_path: Path) -> Outcome:
    if request.to is Kind.HDF5:
        return _write_hdf5(results, out_path)
    if request.to in (Kind.CSV, Kind.PARQUET):
        return _write_table(results, request, out_path)
    return _write_pictures(results, request, out_path)


def _write_hdf5(results: Results, path: Path) -> Outcome:
    with replacing(path) as new_path:
        write_merged(new_path, find_places(results.run, results.files))
    return Outcome(path, len(results), "records")


def _write_table(results: Results, request: ExportRequest, path: Path) -> Outcome:
    table = choose_table(results, request)
    write = write_csv if request.to is Kind.CSV else write_parquet
    write(table, path)
    return Outcome(path, len(table), "rows")


def _write_pictures(results: Results, request: ExportRequest, path: Path) -> Outcome:
    panels = choose_panels(results.run, request)
    rows = choose_rows(results, request)
    if request.to is Kind.FIFTYONE:
        return export_fiftyone(results, rows, panels, path)
    drawer = Drawer(results, panels, request.style)
    if request.to is Kind.PNG:
        return export_pictures(drawer, rows, path)
    return export_figure(drawer, rows, path, _figure_format(path))


def _out_path(run_dir: Path, request: ExportRequest) -> Path:
    """Return the file or folder to write; in --out where that is a folder and a file is written.

    Raises:
        SettingsError: the place is the run's own, or its ending is another kind's.
    """
    path = request.out or run_dir / "exports" / _NAMES[request.to]
    is_folder = path.is_dir() or path.resolve() == (run_dir / "exports").resolve()
    if not is_folder:
        _check_ending(path, request.to)
    if request.to not in (Kind.PNG, Kind.FIFTYONE):
        path = path / _NAMES[request.to] if is_folder else path
        path = _with_ending(path, request.format) if request.to is Kind.FIGURE else path
    _check_outside(path, run_dir)
    return path


def _check_ending(path: Path, kind: Kind) -> None:
    """Raise SettingsError where the ending is another kind's, or a file's and a folder is written."""
    ending, own = path.suffix.lower(), _ENDINGS.get(kind, ())
    if ending in own or not any(ending in others for others in _ENDINGS.values()):
        return
    wanted = f"a file that ends in {' or '.join(own)}" if own else "a folder"
    raise SettingsError(f"--out {path}: --to {kind} writes {wanted}. Name such a one, or another --to.")


def _check_outside(path: Path, run_dir: Path) -> None:
    """Raise SettingsError where an export would be written among the run's own files."""
    resolved, exports_dir = path.resolve(), (run_dir / "exports").resolve()
    if resolved.is_relative_to(run_dir.resolve()) and not resolved.is_relative_to(exports_dir):
        raise SettingsError(
            f"--out {path}: that is among the run's own files. Name a place outside {run_dir}, or below "
            f"{run_dir / 'exports'}."
        )


def _check_sources(path: Path, run: Run) -> None:
    """Raise SettingsError where an export would be written over what the run was made from."""
    resolved = path.resolve()
    sources = [run.metadata.path, run.model_path, *run.images.dirs]
    if resolved in {one.resolve() for one in sources if isinstance(one, Path)}:
        raise SettingsError(f"--out {path}: the run was made from it. Name another place.")


def _with_ending(path: Path, file_format: Format | None) -> Path:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in set(Format):
        return path.with_name(f"{path.name}.{file_format or Format.PDF}")
    if file_format not in (None, ending):
        raise SettingsError(f"--format {file_format}: --out {path} ends otherwise. Leave one of them out.")
    return path


def _figure_format(path: Path) -> Format:
    return Format(path.suffix.lower().removeprefix("."))
