"""A shard or the index, opened: is it whole, and is it what its name says.

Numbers carry checksums, which reading checks. Names, values and dimensions of all axes are compared with the
run's, ids with the manifest's. Without a recorded SHA-256 nothing covers the text of `error`, attributes that
only people read (titles, times), bytes of the file that hold nothing, and the address of a chunk, altered
so that it leads to zeros: their checksum is zero.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np

from camshard.verify.finding import Kind
from camshard.verify.layout import ExpectedLayout, layout_differences
from shared.run import Run
from shared.shard_files import ShardFile
from shared.shard_layout import SCHEMA
from shared.status import Status

_BLOCK_BYTES = 32 * 1024 * 1024
_TEXT_ROWS = 64  # the length of a text is known only once it is read
_STATUSES = [one.value for one in Status]

Problem = tuple[Kind, str]


def shard_problems(opened: h5py.File, file: ShardFile, run: Run, layout: ExpectedLayout) -> Iterator[Problem]:
    """Yield what is wrong with a shard but for its ids, the weightier first; everything is read."""
    own = {"shard": file.shard, "revision": file.revision}
    yield from _identity(opened, run, own)
    rows = _num_rows(opened, run, file)
    if rows is None:
        yield Kind.DAMAGED, "it has no rows, or more than its shard"
        return
    expected = layout.of_rows(rows)
    yield from ((Kind.DAMAGED, text) for text in layout_differences(opened, expected))
    yield from _unreadable(opened, expected)
    yield from _statuses(opened)


def index_problems(opened: h5py.File, run: Run, layout: ExpectedLayout) -> Iterator[Problem]:
    """Yield what is wrong with index.h5 but for its ids; the shards that it shows are not read again."""
    yield from _identity(opened, run, {})
    expected = layout.of_rows(run.num_records)
    yield from ((Kind.DAMAGED, text) for text in layout_differences(opened, expected, views=True))
    for name in (name for name in opened if opened[name].is_virtual):
        sources = {one.file_name for one in opened[name].virtual_sources()}
        foreign = sorted(sources - json.loads(opened.attrs["shard_files"]).keys())
        if foreign:
            yield Kind.DAMAGED, f"variable {name} shows {foreign[0]}, which is none of its shard files"
    yield from _unreadable(opened, [name for name in opened if not opened[name].is_virtual])


def id_problems(found: list[str], wanted: Sequence[str], redone: bool) -> Iterator[Problem]:
    """Yield how a file's ids differ from the manifest's; of redone rows there may be fewer."""
    if not redone and found != list(wanted):
        row = next(row for row, pair in enumerate(zip(found, wanted, strict=True)) if pair[0] != pair[1])
        yield Kind.DAMAGED, f"row {row} is image {found[row]!r}, and in the manifest it is {wanted[row]!r}"
    foreign = sorted(set(found) - set(wanted))
    if foreign:
        yield Kind.DAMAGED, f"image {foreign[0]!r} is none of its shard"
    if len(set(found)) < len(found):
        yield Kind.DAMAGED, "an image comes twice"


def read_ids(opened: h5py.File) -> list[str]:
    """Return the file's image ids."""
    return [image_id for block in _blocks(opened["image_id"]) for image_id in block]


def _identity(opened: h5py.File, run: Run, own: dict[str, Any]) -> Iterator[Problem]:
    schema = opened.attrs.get("camshard_schema")
    if schema is None:
        yield Kind.FOREIGN, "no file of camshard's: it has no attribute camshard_schema"
    elif schema > SCHEMA:
        yield (
            Kind.UNCHECKED,
            f"schema {schema} is newer than this camshard reads ({SCHEMA}): upgrade camshard",
        )
    wanted = {"run_id": run.run_id, **own, "model_sha256": run.inspection.model_sha256}
    for name, value in wanted.items():
        found = opened.attrs.get(name)
        if found != value:
            yield Kind.FOREIGN, f"its {name} is {found}, and {value} belongs here"


def _num_rows(opened: h5py.File, run: Run, file: ShardFile) -> int | None:
    """Return the rows that a file must have, or claims to; None where it cannot have as many."""
    most = len(run.shard_rows(file.shard))
    if file.revision == 0:
        return most
    shape = opened["image_id"].shape
    return int(shape[0]) if len(shape) == 1 and 1 <= shape[0] <= most else None


def _unreadable(opened: h5py.File, names: Iterable[str]) -> Iterator[Problem]:
    for name in names:
        try:
            for _ in _blocks(opened[name]):
                pass
        except (OSError, ValueError) as error:
            yield Kind.DAMAGED, f"variable {name} cannot be read: {error}"


def _statuses(opened: h5py.File) -> Iterator[Problem]:
    statuses = opened["status"][...]
    unknown = statuses[~np.isin(statuses, _STATUSES)]
    if unknown.size:
        yield Kind.DAMAGED, f"status {unknown[0]} is none of {_STATUSES[0]} to {_STATUSES[-1]}"
    failed, noted = int(np.count_nonzero(statuses != Status.OK)), opened.attrs.get("rows_failed")
    if noted != failed:
        yield Kind.DAMAGED, f"its rows_failed is {noted}, and {failed} rows have failed"


def _blocks(dataset: h5py.Dataset) -> Iterator[Any]:
    """Yield a variable's rows in bounded memory; text is decoded, so it must be UTF-8."""
    source, rows = dataset, _TEXT_ROWS
    if h5py.check_string_dtype(dataset.dtype) is not None:
        source = dataset.asstr()
    else:
        chunk_rows = dataset.chunks[0] if dataset.chunks else 1
        row_bytes = max(1, dataset.nbytes // dataset.shape[0])
        rows = max(1, _BLOCK_BYTES // row_bytes // chunk_rows) * chunk_rows
    for start in range(0, dataset.shape[0], rows):
        yield source[start : start + rows]
