"""table.parquet: a row a record, with everything but the attributions."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shared.errors import RunError
from shared.places import Places
from shared.records import METADATA_PREFIX, free_name
from shared.run import Run
from shared.shard_facts import ShardFacts, facts_from_json, facts_to_json

SCHEMA = 1
_KEY = b"camshard"
_FACTS_KEY = b"camshard_shard_facts"
_VARIABLES = ("prediction", "probability", "logit", "target", "status", "error")

# missing or damaged alike: not there
_NO_TABLE = (OSError, pa.ArrowException, KeyError, ValueError, TypeError)

Digests = dict[str, tuple[int, str]]  # of shard files by name: size in bytes, SHA-256


def build_table(places: Places) -> pa.Table:
    """Return the table of all records that are there, in the order of the CSV.

    Columns: image_id; label and prediction (class names, null where unknown or failed; for multilabel
    label_<class> and prediction_<class>, int8 1, 0, -1); probability_<class> and logit_<class>, float32;
    target_<rank>, class names; status, int8; error; then the metadata columns under their own names, with
    `metadata_` before them where the name is taken.

    Raises:
        ShardError: a shard cannot be read.
        RunError: the manifest is damaged.
    """
    run = places.run
    records, found = run.records(), places.read(_VARIABLES)
    if len(places) < len(records):
        records = records.take(places.records.tolist())
    columns: dict[str, Any] = {"image_id": pa.array(records.image_ids, pa.string())}
    columns |= _by_class(run, "label", records.labels)
    columns |= _by_class(run, "prediction", found["prediction"])
    for name in ("probability", "logit"):
        columns |= {f"{name}_{one}": found[name][:, at] for at, one in enumerate(run.spec.classes)}
    for rank in range(run.request.targets.ranks):
        columns[f"target_{rank}"] = _names(run, found["target"][:, rank])
    columns |= {"status": found["status"], "error": pa.array(found["error"], pa.string())}
    for column in records.metadata.column_names:
        name = column.removeprefix(METADATA_PREFIX)
        if name == run.metadata.id_column == "image_id":
            continue
        columns[free_name(column, columns) if name in columns else name] = records.metadata[column]
    return pa.table(columns)


def result_columns(names: Iterable[str], run: Run) -> list[str]:
    """Return the columns that a reader sees unless asked for more: all but logits and targets."""
    hidden = {f"logit_{one}" for one in run.spec.classes}
    hidden |= {f"target_{rank}" for rank in range(run.request.targets.ranks)}
    return [name for name in names if name not in hidden]


def write_table(path: Path, table: pa.Table, run: Run, digests: Digests, facts: list[ShardFacts]) -> None:
    """Write the table, and in its footer of which files it was made and their facts; raises OSError."""
    about = {"schema": SCHEMA, "run_id": run.run_id, "shards": digests}
    pq.write_table(
        table.replace_schema_metadata({_KEY: json.dumps(about), _FACTS_KEY: facts_to_json(facts)}),
        path,
        compression="zstd",
        write_page_checksum=True,
    )


def read_digests(run: Run) -> Digests | None:
    """Return the files that table.parquet was made of; None where there is no table of this run.

    Raises:
        RunError: the table was written by a newer camshard.
    """
    try:
        about = json.loads(_footer(run)[_KEY])
        if about["schema"] > SCHEMA:
            raise RunError(
                f"{run.table_path}: schema {about['schema']} is newer than this camshard reads ({SCHEMA}). "
                "Upgrade camshard, or move the file away: it is made from the shards."
            )
        digests = {name: (int(size), str(digest)) for name, (size, digest) in about["shards"].items()}
    except _NO_TABLE:
        return None
    return digests if about["run_id"] == run.run_id else None


def read_table_facts(run: Run) -> list[ShardFacts] | None:
    """Return the facts of all shards as table.parquet has them; None where it has none."""
    try:
        return facts_from_json(_footer(run)[_FACTS_KEY])
    except _NO_TABLE:
        return None


def _footer(run: Run) -> dict[bytes, bytes]:
    return pq.read_metadata(run.table_path).metadata or {}


def _by_class(run: Run, name: str, values: NDArray[Any]) -> dict[str, Any]:
    if values.ndim == 1:
        return {name: _names(run, values)}
    return {f"{name}_{one}": values[:, index] for index, one in enumerate(run.spec.classes)}


def _names(run: Run, indices: NDArray[Any]) -> pa.Array:
    return pa.array(run.spec.classes, pa.string()).take(
        pa.array(np.maximum(indices, 0).astype(np.int32), mask=indices < 0)
    )
