"""What of each shard a run's progress needs: from its file's attributes, or all at once from the table."""

import json
from dataclasses import astuple, dataclass, fields

import h5py
import numpy as np
from h5py import h5a

from shared.errors import ShardError
from shared.run import Run
from shared.shard import reading


@dataclass(frozen=True)
class ShardFacts:
    """How many rows failed, and where the time went.

    Attributes:
        rows_failed: rows whose status is not ok.
        started_at, finished_at: Unix times.
        waited_for_images, waited_for_writing, computing: seconds of its time with the model.
    """

    rows_failed: int
    started_at: float
    finished_at: float
    waited_for_images: float
    waited_for_writing: float
    computing: float


def read_facts(run: Run, shard: int) -> ShardFacts:
    """Read the facts of a published shard.

    Raises:
        ShardError: the file cannot be read, or is of another run.
    """
    path = run.shard_path(shard)
    with reading(path) as file:
        run_id = file.attrs["run_id"]
        if run_id != run.run_id:
            raise ShardError(f"{path}: a shard of run {run_id}, not of {run.run_id}.")
        return ShardFacts(
            rows_failed=int(_number(file, b"rows_failed")),
            started_at=_number(file, b"started_at"),
            finished_at=_number(file, b"finished_at"),
            waited_for_images=_number(file, b"seconds_waiting_for_images", 0.0),
            waited_for_writing=_number(file, b"seconds_waiting_for_writing", 0.0),
            computing=_number(file, b"seconds_computing"),
        )


def facts_to_json(facts: list[ShardFacts]) -> str:
    """Return the facts of shards 0, 1, … by column."""
    names = [field.name for field in fields(ShardFacts)]
    columns = zip(*map(astuple, facts), strict=True)
    return json.dumps(dict(zip(names, map(list, columns), strict=True)))


def facts_from_json(text: str | bytes) -> list[ShardFacts]:
    """Return what `facts_to_json` was given; raises ValueError, KeyError or TypeError where it is damaged."""
    columns = json.loads(text)
    names = [field.name for field in fields(ShardFacts)]
    return [ShardFacts(*row) for row in zip(*(columns[name] for name in names), strict=True)]


def _number(file: h5py.File, name: bytes, default: float | None = None) -> float:
    """Read a scalar attribute, in a third of the time that `file.attrs` takes."""
    if default is not None and not h5a.exists(file.id, name):
        return default
    value = np.empty((), np.float64)
    h5a.open(file.id, name).read(value)
    return float(value)
