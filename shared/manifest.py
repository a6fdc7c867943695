"""manifest.parquet: every record of a run, in order, in row groups of whole shards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import RunError, StorageError
from shared.publish import replacing
from shared.records import Records, records_to_table

_GROUP_ROWS = 1_024  # at least; fewer make the file's footer large, and every opening slow
_ROWS_AT_ONCE = 65_536
_FEW_RUNS = 4
_ONE_READER = threading.RLock()


class Manifest:
    """An open manifest. It reads any rows; those of a shard lie in one row group, with few others."""

    def __init__(self, path: Path):
        self._file = pq.ParquetFile(path)
        groups = range(self._file.num_row_groups)
        self._ends = np.cumsum([self._file.metadata.row_group(group).num_rows for group in groups])

    def read(self, rows: range, columns: list[str] | None = None) -> pa.Table:
        """Read some rows; raises pa.ArrowException or OSError."""
        if rows.stop > self._file.metadata.num_rows:
            raise pa.ArrowInvalid(f"it has {self._file.metadata.num_rows} records, {rows.stop} are wanted")
        first = int(np.searchsorted(self._ends, rows.start, side="right"))
        last = int(np.searchsorted(self._ends, rows.stop, side="left"))
        before = int(self._ends[first - 1]) if first else 0
        table = self._file.read_row_groups(list(range(first, last + 1)), columns=columns)
        return table.slice(rows.start - before, len(rows))


def write_manifest(path: Path, records: Records, shard_size: int) -> None:
    """Write the manifest, or replace it in one step, in little memory of its own; raises OSError."""
    group_rows = shard_size * max(1, _GROUP_ROWS // shard_size)
    rows = group_rows * max(1, _ROWS_AT_ONCE // group_rows)
    parts = (records_to_table(records, slice(at, at + rows)) for at in range(0, len(records), rows))
    first = next(parts)
    with replacing(path) as file, pq.ParquetWriter(file, first.schema, write_page_checksum=True) as writer:
        for part in chain([first], parts):
            writer.write_table(part, row_group_size=group_rows)


@contextmanager
def reading_manifest(path: Path) -> Iterator[Manifest]:
    """Give the manifest to one thread at a time: several that read a Parquet file at once fail.

    It stays open, as long as it is the same file, for who reads it next: opening takes longer than reading.

    Raises:
        RunError: the manifest is damaged.
        StorageError: the storage under it failed.
    """
    try:
        with _ONE_READER:
            found = path.stat()
            yield _open(path, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # of the file system; pyarrow says without one what is damaged
            raise StorageError(f"{path}: reading failed: {error}.") from error
        raise RunError(
            f"{path}: cannot be read: {error}. Give the command that began the run again: it "
            "writes the manifest anew, and published shards stay."
        ) from error


@lru_cache(maxsize=_FEW_RUNS)
def _open(path: Path, identity: tuple[int, ...]) -> Manifest:
    return Manifest(path)
