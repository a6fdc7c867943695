"""A small run whose shards hold numbers that can be checked by hand."""

import numpy as np
import pytest

from shared.run import Records, Run
from shared.shard import Rows, ShardWriter, Timings
from shared.status import Status


@pytest.fixture
def results_dir(run_dir: Run) -> Run:
    """All shards of the tiny run: record n has class n % 3 predicted, and CAM values of n + rank."""
    for shard in range(run_dir.num_shards):
        records = run_dir.shard_records(shard)
        publish_rows(run_dir, shard, records)
    return run_dir


def publish_rows(run: Run, shard: int, records: Records) -> None:
    """Publish a shard; record c (no image file) has failed."""
    numbers = np.array(list(run.shard_rows(shard)))
    failed = np.array([path is None for path in records.image_paths])
    probabilities = np.full((len(numbers), 3), 0.1, np.float32)
    probabilities[np.arange(len(numbers)), numbers % 3] = 0.8
    ranks = np.arange(3)
    cam = np.broadcast_to((numbers[:, None] + ranks)[:, :, None, None], (len(numbers), 3, 8, 8)).astype(
        np.float32
    )
    cam = cam * np.linspace(-1, 1, 8, dtype=np.float32)
    cam[failed] = np.nan
    rows = Rows(
        statuses=np.where(failed, Status.MISSING, Status.OK).astype(np.int8),
        errors=["no file" if one else "" for one in failed],
        logits=np.log(probabilities),
        probabilities=np.where(failed[:, None], np.nan, probabilities).astype(np.float32),
        predictions=np.where(failed, -1, numbers % 3).astype(np.int16),
        targets=np.where(failed[:, None], -1, np.broadcast_to(ranks, (len(numbers), 3))).astype(np.int16),
        attributions={("cam", "c2"): cam, ("gradcam", "c2"): cam / 64},
    )
    with ShardWriter(run, shard, records) as writer:
        writer.write(0, rows)
        writer.publish(Timings(0.1, 0.2, 100.0 + shard, 100.5 + shard))
