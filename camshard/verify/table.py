"""Is table.parquet whole, of this run and of the manifest's records."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from camshard.verify.finding import Finding, Kind
from shared.errors import RunError
from shared.run import Run
from shared.table import Digests, read_digests

_ROWS = 10_000


@dataclass(frozen=True)
class TableCheck:
    """What is wrong with the table, and what it knows.

    Attributes:
        digests: size and SHA-256 of the files it was made of; None where there is no table of this run.
        shards_that_differ: whose ids are not the manifest's.
    """

    finding: Finding | None = None
    digests: Digests | None = None
    shards_that_differ: set[int] = field(default_factory=set)


def check_table(run: Run, image_ids: list[str] | None) -> TableCheck:
    """Read the table whole, in bounded memory.

    Args:
        image_ids: the manifest's; None where that is damaged.
    """
    try:
        digests = read_digests(run)
        if digests is None:
            return TableCheck(_no_table_of_this_run(run))
        differing = set(_shards_that_differ(run, image_ids))
    except RunError as error:
        return TableCheck(_finding(run, Kind.UNCHECKED, str(error)))
    except OSError as error:
        kind = Kind.UNCHECKED if error.errno else Kind.DAMAGED
        return TableCheck(_finding(run, kind, f"it cannot be read: {error}"))
    except Exception as error:  # what pyarrow gives of a damaged file may be anything
        return TableCheck(_finding(run, Kind.DAMAGED, f"it cannot be read: {error!r}"))
    return TableCheck(None, digests, differing)


def differing_table(run: Run, shards: set[int]) -> Finding:
    """Return what is said of a table whose ids are not the manifest's."""
    return _finding(run, Kind.DAMAGED, f"its image ids are not the manifest's, first in shard {min(shards)}")


def _no_table_of_this_run(run: Run) -> Finding | None:
    if not run.table_path.exists():
        return None
    try:
        about = pq.read_metadata(run.table_path).metadata or {}
    except OSError as error:
        if error.errno:
            return _finding(run, Kind.UNCHECKED, f"it cannot be read: {error}")
        return _finding(run, Kind.DAMAGED, f"it cannot be read: {error}")
    if run.run_id.encode() in about.get(b"camshard", b""):
        return _finding(run, Kind.DAMAGED, "it does not say of which files it was made")
    return _finding(run, Kind.FOREIGN, "it is of another run")


def _shards_that_differ(run: Run, image_ids: list[str] | None) -> Iterator[int]:
    """Read every column, and yield the shards whose ids are not the manifest's."""
    start = 0
    with pq.ParquetFile(run.table_path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(_ROWS):
            found = batch.column("image_id").to_pylist()
            wanted = found if image_ids is None else image_ids[start : start + len(found)]
            if len(found) > len(wanted):
                yield run.num_shards - 1
            for row, pair in enumerate(zip(found, wanted, strict=False), start):
                if pair[0] != pair[1]:
                    yield row // run.shard_size
            start += len(found)
    if start < run.num_records:
        yield start // run.shard_size


def _finding(run: Run, kind: Kind, what: str) -> Finding:
    return Finding(run.table_path.name, kind, what)
