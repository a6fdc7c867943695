"""Whether a run lost nothing, has nothing twice, and says the same as one that was made on one machine."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camshard.results import open_run
from deploy.hosts.network import HostsError
from shared.run import Run, read_run
from shared.shard import open_shard
from shared.status import Status

_EXACT = ["image_id", "label", "prediction", "status", "error"]
_TOLERANCE = 1e-5  # of the largest value of a shard: another place in a batch, another number of threads


def check_whole(run_dir: Path) -> None:
    """Check that every record of a complete run is there once, and that its status is ok.

    Raises:
        HostsError: one is not.
    """
    run, table = read_run(run_dir), open_run(run_dir).table
    if len(run.published_shards()) != run.num_shards:
        raise HostsError(f"{run_dir}: {len(run.published_shards())} of {run.num_shards} shards.")
    if list(table["image_id"]) != run.image_ids():
        raise HostsError(f"{run_dir}: the table's image ids are not those of the manifest, each once.")
    failed = table[table["status"] != Status.OK]
    if len(failed):
        raise HostsError(f"{run_dir}: {len(failed)} rows failed, the first: {failed['error'].iloc[0]}")


def check_same(run_dir: Path, alone_dir: Path) -> float:
    """Check that two runs of the same records say the same; return the largest difference of a float.

    Returns:
        The difference as a share of the largest value in its shard.

    Raises:
        HostsError: they differ.
    """
    tables = open_run(run_dir).table, open_run(alone_dir).table
    if not tables[0][_EXACT].equals(tables[1][_EXACT]):
        raise HostsError(f"{run_dir}: the table differs from that of {alone_dir}.")
    run, alone = read_run(run_dir), read_run(alone_dir)
    return max(_difference(run, alone, shard) for shard in range(run.num_shards))


def _difference(run: Run, alone: Run, shard: int) -> float:
    largest = 0.0
    with open_shard(run.shard_path(shard)) as found, open_shard(alone.shard_path(shard)) as expected:
        for name in expected:
            largest = max(largest, _distance(found[name][...], expected[name][...]))
            if largest > _TOLERANCE:
                raise HostsError(f"{run.shard_path(shard)}, {name}: differs by {largest:.1e} of its largest.")
    return largest


def _distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference as a share of the largest value; infinity where no float differs."""
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return float("inf")
    scale = float(np.nanmax(np.abs(expected), initial=0.0)) or 1.0
    return float(np.nanmax(np.abs(found - expected), initial=0.0)) / scale
