"""The variables that a shard must have, and how those of a file differ."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shared.errors import RunError
from shared.records import Records
from shared.run import Run
from shared.shard_layout import create_layout


@dataclass(frozen=True)
class Variable:
    """One variable as the layout makes it.

    Attributes:
        type_code: how HDF5 writes its type: more than NumPy's tells, such as how many bits count.
        dims: names of its axes; none for an axis itself.
        values: of an axis that is the same in all shards, else None.
    """

    dtype: np.dtype[Any]
    type_code: bytes
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    has_checksums: bool
    values: NDArray[Any] | None


class ExpectedLayout:
    """What create_layout makes for a run, by number of rows; each is made once, in memory."""

    def __init__(self, run: Run):
        self._run = run
        self.of_rows = lru_cache(maxsize=8)(self._of_rows)

    def _of_rows(self, rows: int) -> dict[str, Variable]:
        """Return every variable of a shard of so many rows.

        Raises:
            RunError: run.json describes no layout.
        """
        try:
            with h5py.File("layout", "w", driver="core", backing_store=False) as file:
                create_layout(file, self._run, 0, 0, _no_records(self._run, rows))
                return {name: _variable(name, dataset) for name, dataset in file.items()}
        except Exception as error:  # whatever in run.json makes no sense
            raise RunError(
                f"{self._run.dir / 'run.json'}: damaged: it describes no shard: {type(error).__name__}: "
                f"{error}. Move the file away and give the command that began the run again: it writes the "
                "file anew, and published shards stay."
            ) from error


def layout_differences(file: h5py.File, expected: dict[str, Variable], views: bool = False) -> Iterator[str]:
    """Yield how a file's variables differ from the layout; reads no data but that of small axes.

    Args:
        views: variables may be views of other files.
    """
    for name, variable in expected.items():
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            yield f"variable {name} is not there"
        elif not isinstance(file[name], h5py.Dataset):
            yield f"{name} is no variable"
        else:
            is_view = views and file[name].is_virtual
            yield from _differences(name, file[name], variable, is_view)


def _differences(name: str, dataset: h5py.Dataset, expected: Variable, is_view: bool) -> Iterator[str]:
    if dataset.shape != expected.shape:
        yield f"variable {name} has the shape {dataset.shape}, {expected.shape} is right"
    elif _type_text(dataset.dtype) != _type_text(expected.dtype):
        yield f"variable {name} is {_type_text(dataset.dtype)}, {_type_text(expected.dtype)} is right"
    elif dataset.id.get_type().encode() != expected.type_code:
        yield f"variable {name} writes its numbers or texts in another way"
    elif _dims(dataset) != expected.dims:
        yield f"variable {name} has the axes {_dims(dataset)}, {expected.dims} is right"
    elif not is_view:
        yield from _storage_differences(name, dataset, expected)


def _storage_differences(name: str, dataset: h5py.Dataset, expected: Variable) -> Iterator[str]:
    if dataset.is_virtual or dataset.external:
        yield f"variable {name} lies in another file"
    elif expected.has_checksums and not dataset.fletcher32:
        yield f"variable {name} has no checksums"
    elif dataset.chunks and not _all_chunks_are_there(dataset):
        yield f"variable {name} lacks some of its data"
    elif expected.values is not None and not np.array_equal(dataset[...], expected.values):
        yield f"axis {name} has other values than the run's"


def _all_chunks_are_there(dataset: h5py.Dataset) -> bool:
    """A chunk that is not there would read as "nothing", without an error."""
    sizes = list(zip(dataset.shape, dataset.chunks, strict=True))
    if any(chunk > axis for axis, chunk in sizes):  # far larger than its variable: not to be believed
        return False
    wanted = math.prod(-(-axis // chunk) for axis, chunk in sizes)
    return bool(dataset.id.get_num_chunks() == wanted)


def _variable(name: str, dataset: h5py.Dataset) -> Variable:
    is_fixed_axis = dataset.is_scale and name != "image_id"
    return Variable(
        dtype=dataset.dtype,
        type_code=dataset.id.get_type().encode(),
        shape=dataset.shape,
        dims=_dims(dataset),
        has_checksums=bool(dataset.fletcher32),
        values=dataset[...] if is_fixed_axis else None,
    )


def _dims(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Return the names of the scales on each axis, "?" where there is none; nothing for a scale itself."""
    if dataset.is_scale:
        return ()
    return tuple(dim[0].name.lstrip("/") if len(dim) else "?" for dim in dataset.dims)


def _type_text(dtype: np.dtype[Any]) -> str:
    return "text" if h5py.check_string_dtype(dtype) is not None else str(dtype)


def _no_records(run: Run, rows: int) -> Records:
    """Return records without content: the layout depends on their number alone."""
    labels: NDArray[np.integer[Any]] = np.zeros(rows, np.int16)
    if run.spec.task == "multilabel":
        labels = np.zeros((rows, len(run.spec.classes)), np.int8)
    return Records([""] * rows, [None] * rows, labels, pa.table({}))
