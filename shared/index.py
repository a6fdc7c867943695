"""index.h5: a whole run as one HDF5 file, its attributions as views of the shards; or as copies."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from shared.errors import RequestError
from shared.places import Places
from shared.records import METADATA_PREFIX, Records, plain_values, variable_names
from shared.shard import reading
from shared.shard_layout import Layout, attribution_name, write_root_attributes
from shared.table import Digests

MOST_FILES = 200  # HDF5 keeps every source of a virtual dataset open
MOST_METADATA = 2_000  # columns; HDF5 keeps a list of all variables along an axis, of at most 64 kB
_FILL = {"i": 0, "f": np.nan}
_BLOCK_BYTES = 32 * 1024 * 1024
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
    request = places.run.request
    with h5py.File(path, "w", track_order=True, locking=False) as file:
        layout = _begin(file, places, {})
        made = [layout.attribution(method, layer) for method, layer in request.attributions]
        if request.save_features:
            made.append(layout.features())
        for dataset in made:
            _copy(places, dataset)


def _copy(places: Places, dataset: h5py.Dataset) -> None:
    """Fill one variable of all records from the shards, a block at a time."""
    most = max(1, _BLOCK_BYTES // (4 * int(np.prod(dataset.shape[1:]))))
    for part in places.parts():
        for block in part.blocks(most):
            for rows, positions in block.stretches():
                dataset[positions] = _read(part.file.path, dataset.name, rows)


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
    names = list(variable_names(records.metadata).items())[:MOST_METADATA]
    for column, name in names:
        values = plain_values(records.metadata[column])
        dtype, fill = (_STRING, None) if values.dtype == object else (values.dtype, _FILL[values.dtype.kind])
        title = column.removeprefix(METADATA_PREFIX)
        layout.variable(name, ("image_id",), dtype, fill, title)[...] = values


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
