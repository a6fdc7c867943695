"""What the tests of several modules of shared/ read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_shards import TIMINGS, make_rows

from shared.records import Records
from shared.run import Run
from shared.shard import ShardWriter
from shared.status import Status


@pytest.fixture
def published(tiny_run: Run, five_records: Records) -> Path:
    """A shard of all five records, of which the last is unreadable."""
    run = replace(tiny_run, shard_size=5)
    with ShardWriter(run, 0, five_records) as writer:
        writer.write(2, make_rows(2, 2))
        writer.write(0, make_rows(0, 2))
        writer.write(4, make_rows(4, 1, Status.UNREADABLE, "e.jpg: die Datei ist beschädigt"))
        assert writer.publish(TIMINGS) is True
    return run.shard_path(0)


@pytest.fixture(scope="session")
def gradient() -> np.ndarray:
    """A smooth RGB image, uint8 (60, 80, 3), different in every direction."""
    height, width = 60, 80
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)]
    return np.stack(channels, axis=-1).astype(np.uint8)
