"""Shards whose numbers can be checked by hand, for the tiny run of conftest.py."""

import numpy as np

from shared.run import Run
from shared.shard import Rows, ShardWriter, Timings
from shared.status import Status

RAMP = np.linspace(-1, 1, 8, dtype=np.float32)


def publish_all(run: Run) -> None:
    """Publish every shard."""
    for shard in range(run.num_shards):
        publish_rows(run, shard)


def publish_rows(run: Run, shard: int) -> None:
    """Publish a shard: record n predicts class n % 3; its CAM is (n + rank) · RAMP along x; c has failed."""
    records = run.shard_records(shard)
    numbers = np.array(list(run.shard_rows(shard)))
    failed = np.array([path is None for path in records.image_paths])
    write_shard(run, shard, records, numbers, failed)


def redo(run: Run, shard: int, revision: int, rows: list[int], failed: bool, value: float) -> None:
    """Publish some rows of a shard anew, their CAM `value` everywhere."""
    records = run.shard_records(shard).take(rows)
    numbers = np.array(run.shard_rows(shard))[rows]
    write_shard(run, shard, records, numbers, np.full(len(rows), failed), revision, value)


def write_shard(run, shard, records, numbers, failed, revision=0, value=None):
    """Write and publish rows of the tiny run."""
    probabilities = np.full((len(numbers), 3), 0.1, np.float32)
    probabilities[np.arange(len(numbers)), numbers % 3] = 0.8
    ranks = np.arange(3)
    cam = (numbers[:, None] + ranks)[:, :, None, None] * np.broadcast_to(RAMP, (len(numbers), 3, 8, 8))
    cam = np.where(failed[:, None, None, None], np.nan, cam if value is None else value).astype(np.float32)
    cam = np.broadcast_to(cam, (len(numbers), 3, 8, 8))
    rows = Rows(
        statuses=np.where(failed, Status.MISSING, Status.OK).astype(np.int8),
        errors=[("failed again" if revision else "no file") if one else "" for one in failed],
        logits=np.where(failed[:, None], np.nan, np.log(probabilities)).astype(np.float32),
        probabilities=np.where(failed[:, None], np.nan, probabilities).astype(np.float32),
        predictions=np.where(failed, -1, numbers % 3).astype(np.int16),
        targets=np.where(failed[:, None], -1, np.broadcast_to(ranks, (len(numbers), 3))).astype(np.int16),
        attributions={("cam", "c2"): cam, ("gradcam", "c2"): cam / 64},
    )
    with ShardWriter(run, shard, records, revision) as writer:
        writer.write(0, rows)
        writer.publish(Timings(0.1, 0.2, 100.0 + shard, 100.5 + shard))
