"""A run as one xarray.Dataset: everything small in memory, attributions read when they are needed."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.errors import MissingExtraError
from shared.places import Part, Places
from shared.records import METADATA_PREFIX, Records, plain_values, variable_names
from shared.shard import reading
from shared.shard_layout import attribution_name

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

_SMALL = ("label", "probability", "logit", "prediction", "target", "status", "error")
_BLOCK_BYTES = 32 * 1024 * 1024
_OF_HDF5 = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"}
_OF_THE_RUN = (
    "Conventions", "camshard_schema", "run_id", "model_sha256", "preprocessing", "resize_convention", "score",
    "versions",
)  # fmt: skip


def make_dataset(places: Places) -> "xr.Dataset":
    """Return all records that are there, with the names, dimensions and attributes of a shard.

    Attributions and features are dask arrays, of chunks within a shard, read as they are computed.

    Raises:
        MissingExtraError: xarray or dask is not installed.
        ShardError: a shard cannot be read.
    """
    try:
        import dask.array  # noqa: F401
        import xarray as xr
    except ImportError as error:
        raise MissingExtraError("dataset() needs xarray and dask: pip install 'camshard[xarray]'") from error
    with reading(places.files[0].path) as file:
        variables = {
            name: (_dims(file[name]), values, _about(file[name])) for name, values in _small(places, file)
        }
        for name in _large(places):
            array = _lazy(places, name, file[name].shape[1:], file[name].dtype)
            variables[name] = (_dims(file[name]), array, _about(file[name]))
        attributes = {name: file.attrs[name] for name in _OF_THE_RUN}
    variables |= _metadata(places)
    axes = {name: variables.pop(name) for name in list(variables) if variables[name][0] == (name,)}
    return xr.Dataset(variables, axes, attributes)


def _small(places: Places, file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Yield the axes, and what has a value an image or class."""
    yield "image_id", np.array(_records(places).image_ids, object)
    for name, dataset in file.items():
        if dataset.is_scale and name != "image_id":
            yield name, dataset.asstr()[...] if h5py.check_string_dtype(dataset.dtype) else dataset[...]
    yield from places.read(_SMALL).items()


def _large(places: Places) -> list[str]:
    request = places.run.request
    names = [attribution_name(method, layer) for method, layer in request.attributions]
    return [*names, "feature"] if request.save_features else names


def _metadata(places: Places) -> dict[str, Any]:
    table = _records(places).metadata
    return {
        name: (
            ("image_id",),
            plain_values(table[column]),
            {"long_name": column.removeprefix(METADATA_PREFIX)},
        )
        for column, name in variable_names(table).items()
    }


def _records(places: Places) -> Records:
    records = places.run.records()
    return records if len(places) == len(records) else records.take(places.records.tolist())


def _lazy(places: Places, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> "da.Array":
    """Return a dask array of one variable of all records, in their order."""
    import dask.array as da
    from dask.delayed import delayed

    read = delayed(_read_block, pure=True)
    most = max(1, _BLOCK_BYTES // (dtype.itemsize * int(np.prod(shape))))
    blocks = [
        da.from_delayed(
            read(list(places.parts(asked)), name, (len(asked), *shape), dtype), (len(asked), *shape), dtype
        )
        for asked in _blocks(places, most)
    ]
    whole: da.Array = da.concatenate(blocks)
    return whole


def _blocks(places: Places, most: int) -> Iterator[NDArray[np.int64]]:
    """Yield the places of all records among those that are there, cut where shards end."""
    shards = places.records // places.run.shard_size
    starts = np.flatnonzero(np.diff(shards, prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(places)]):
        for first in range(start, end, most):
            yield np.arange(first, min(first + most, end))


def _read_block(parts: list[Part], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    values = np.empty(shape, dtype)
    for part in parts:
        with reading(part.file.path) as opened:
            for rows, positions in part.stretches():
                values[positions] = opened[name][rows]
    return values


def _dims(dataset: h5py.Dataset) -> tuple[str, ...]:
    if dataset.is_scale:
        return (dataset.name[1:],)
    return tuple(axis[0].name[1:] for axis in dataset.dims)


def _about(dataset: h5py.Dataset) -> dict[str, Any]:
    return {name: value for name, value in dataset.attrs.items() if name not in _OF_HDF5}
