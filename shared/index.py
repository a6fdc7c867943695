"""index.h5: a whole run as one HDF5 file, its attributions as views of the shards; or as copies."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from shared.errors import RequestError
from shared.places import Places
from shared.records import Records
from shared.shard import reading
from shared.shard_layout import Layout, attribution_name, write_root_attributes
from shared.table import Digests

MOST_FILES = 200  # HDF5 keeps every source of a virtual dataset open
_VARIABLES = ("prediction", "probability", "logit", "target", "status", "error")
_STRING = h5py.string_dtype()


def write_index(path: Path, places: Places, digests: Digests) -> None:
    """Write a file that shows the run as one, under relative paths: it belongs into the run directory.

    Raises:
        RequestError: the run has more than 200 files.
        ShardError, OSError: a shard cannot be read, the file cannot be written.
    """
    if len(places.files) > MOST_FILES:
        raise RequestError(
            f"{places.run.dir}: {len(places.files)} files are too many for an index ({MOST_FILES}): HDF5 "
            "keeps them all open. `camshard export --to hdf5` merges them."
        )
    with h5py.File(path, "w", track_order=True, locking=False) as file:
        layout = _begin(file, places, {"shard_files": json.dumps(digests)})
        for method, layer in places.run.request.attributions:
            name = attribution_name(method, layer)
            layout.attribution(method, layer, _view(places, name))
        if places.run.request.save_features:
            layout.features(_view(places, "feature"))


def write_merged(path: Path, places: Places) -> None:
    """Write a file that holds the whole run and needs no other, in bounded memory.

    Raises:
        ShardError, OSError: a shard cannot be read, the file cannot be written.
    """
    run = places.run
    names = [attribution_name(method, layer) for method, layer in run.request.attributions]
    with h5py.File(path, "w", track_order=True, locking=False) as file:
        layout = _begin(file, places, {})
        for method, layer in run.request.attributions:
            layout.attribution(method, layer)
        if run.request.save_features:
            layout.features()
            names.append("feature")
        for part in places.parts():
            for rows, positions in part.stretches():
                for name in names:
                    file[name][positions] = _read(part.file.path, name, rows)


def _begin(file: h5py.File, places: Places, own: dict[str, Any]) -> Layout:
    """Write everything but attributions and features."""
    run, records = places.run, places.run.records()
    if len(places) < len(records):
        records = records.take(places.records.tolist())
    layout = Layout(file, run)
    layout.rows(records)
    for name, values in places.read(_VARIABLES).items():
        file[name][...] = values
    _write_metadata(layout, records)
    write_root_attributes(file, run, {"title": f"camshard run {run.run_id}", **own})
    return layout


def _write_metadata(layout: Layout, records: Records) -> None:
    """Write the metadata columns: numbers as float64 (missing: NaN), all else as text (missing: "")."""
    names: set[str] = set()
    for column in records.metadata.column_names:
        name = column.replace("/", ".")
        while name in names:
            name += "_"
        names.add(name)
        values, numeric = _plain(records.metadata[column])
        dtype, fill = (np.float64, np.nan) if numeric else (_STRING, None)
        title = column.removeprefix("metadata_")
        layout.variable(name, ("image_id",), dtype, fill, title)[...] = values


def _plain(column: pa.ChunkedArray) -> tuple[Any, bool]:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return column.cast(pa.float64(), safe=False).to_numpy(), True
    return np.array(column.cast(pa.string()).fill_null("").to_pylist(), object), False


def _read(path: Path, name: str, rows: slice) -> Any:
    with reading(path) as file:
        return file[name][rows]


def _view(places: Places, name: str) -> h5py.VirtualLayout:
    """Return a virtual dataset of one variable of all records."""
    layout: h5py.VirtualLayout | None = None
    for part in places.parts():
        with reading(part.file.path) as file:
            shape, dtype = file[name].shape, file[name].dtype
        source = h5py.VirtualSource(part.file.name, name, shape, dtype)
        if layout is None:
            layout = h5py.VirtualLayout((len(places), *shape[1:]), dtype)
        for rows, positions in part.stretches():
            layout[positions] = source[rows]
    return layout
