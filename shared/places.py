"""Where each record's results lie: the newest file that has them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.run import Run
from shared.shard import reading
from shared.shard_files import ShardFile
from shared.status import Status

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """Records that lie in one file.

    Attributes:
        rows: int64 (n,), the file's rows.
        positions: int64 (n,), their places among the records that were asked for.
    """

    file: ShardFile
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]

    def blocks(self, most: int) -> Iterator["Part"]:
        """Cut the part into parts of at most so many records."""
        for start in range(0, len(self.rows), most):
            block = slice(start, start + most)
            yield Part(self.file, self.rows[block], self.positions[block])

    def stretches(self) -> Iterator[tuple[slice, slice]]:
        """Yield rows and places that run on together, as slices."""
        breaks = np.flatnonzero((np.diff(self.rows) != 1) | (np.diff(self.positions) != 1)) + 1
        for first, end in pairwise([0, *breaks.tolist(), len(self.rows)]):
            row, position = int(self.rows[first]), int(self.positions[first])
            yield slice(row, row + end - first), slice(position, position + end - first)


@dataclass(frozen=True)
class Places:
    """The place of every record whose shard is there.

    Attributes:
        run: whose records they are.
        files: revision 0 of each shard that is there, then the files of rows done again.
        records: int64 (n,), the records' numbers in the run, ascending.
        file_index: int32 (n,), the file of each, by its place in `files`.
        rows: int32 (n,), its row there.
    """

    run: Run
    files: tuple[ShardFile, ...]
    records: NDArray[np.int64]
    file_index: NDArray[np.int32]
    rows: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.records)

    def parts(self, asked: NDArray[np.int64] | None = None) -> Iterator[Part]:
        """Yield all records, or those asked for by their places in the order of the CSV, file by file."""
        file_index = self.file_index if asked is None else self.file_index[asked]
        rows = self.rows if asked is None else self.rows[asked]
        by_file = np.argsort(file_index, kind="stable")
        there, starts = np.unique(file_index[by_file], return_index=True)
        split = np.split(by_file, starts[1:]) if len(by_file) else []
        found = {self.files[at]: one for at, one in zip(there, split, strict=True)}
        for file in sorted(found):
            yield Part(file, rows[found[file]].astype(np.int64), found[file])

    def read(self, names: Collection[str]) -> dict[str, Array]:
        """Read whole variables of all records, (n, …) each; each file is opened once.

        Raises:
            ShardError: a file cannot be read.
        """
        found: dict[str, Array] = {}
        for part in self.parts():
            with reading(part.file.path) as file:
                for name in names:
                    values = _whole(file[name])
                    if name not in found:
                        found[name] = np.empty((len(self), *values.shape[1:]), values.dtype)
                    found[name][part.positions] = values[part.rows]
        return found


def _whole(dataset: h5py.Dataset) -> Array:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    return np.asarray(dataset.asstr()[...] if is_text else dataset[...])


def find_places(run: Run, files: Collection[ShardFile]) -> Places:
    """Find the newest ok row of each record, or the newest where none is ok.

    Args:
        files: the published files, as `find_shard_files` gives them; records of other shards are left out.

    Raises:
        ShardError: a file cannot be read.
    """
    first = [one for one in files if one.revision == 0]
    sizes = [len(run.shard_rows(one.shard)) for one in first]
    records = [np.arange(rows.start, rows.stop) for rows in (run.shard_rows(one.shard) for one in first)]
    places = Places(
        run=run,
        files=(*first, *(one for one in files if one.revision)),
        records=np.concatenate([np.empty(0, np.int64), *records]),
        file_index=np.repeat(np.arange(len(first), dtype=np.int32), sizes),
        rows=np.concatenate([np.empty(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)]),
    )
    _take_over_redone_rows(places, first)
    return places


def _take_over_redone_rows(places: Places, first: list[ShardFile]) -> None:
    """Have redone rows point to their newest file, in place."""
    starts = dict(zip([one.shard for one in first], _starts(places, first), strict=True))
    originals = {one.shard: one for one in first}
    ok: dict[
        int, NDArray[np.bool_]
    ] = {}  # of the shards of which rows were done again: which rows are ok so far
    for index, file in enumerate(places.files):
        if file.revision == 0 or file.shard not in starts:
            continue
        if file.shard not in ok:
            with reading(originals[file.shard].path) as opened:
                ok[file.shard] = opened["status"][...] == Status.OK
        places_of = {name: row for row, name in enumerate(places.run.shard_records(file.shard).image_ids)}
        with reading(file.path) as opened:
            image_ids, statuses = opened["image_id"].asstr()[...], opened["status"][...]
        for row, (image_id, status) in enumerate(zip(image_ids, statuses, strict=True)):
            place = places_of.get(image_id)
            if place is None or (ok[file.shard][place] and status != Status.OK):
                continue
            position = starts[file.shard] + place
            places.file_index[position], places.rows[position] = index, row
            ok[file.shard][place] = status == Status.OK


def _starts(places: Places, first: list[ShardFile]) -> list[int]:
    sizes = [len(places.run.shard_rows(one.shard)) for one in first]
    return [int(one) for one in np.cumsum([0, *sizes])[:-1]]
