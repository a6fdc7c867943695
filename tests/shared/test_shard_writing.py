"""What becomes of a shard when writing it is interrupted, fails, or was done before."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from tiny_shards import TIMINGS, make_rows

from shared.errors import ShardError, StorageError
from shared.records import Records
from shared.run import Run
from shared.shard import ShardWriter, read_attributes, remove_abandoned


def test_a_row_that_was_never_written_keeps_the_shard_from_being_published(
    tiny_run: Run, five_records: Records
) -> None:
    with ShardWriter(tiny_run, 0, five_records) as writer:
        writer.write(0, make_rows(0, 2))
        writer.write(3, make_rows(3, 1))
        with pytest.raises(ShardError, match="2 rows were never written, first 2"):
            writer.publish(TIMINGS)
    assert not tiny_run.shard_path(0).exists()


@pytest.mark.parametrize("held_bytes", [0, 2_000, 16_000_000])
def test_rows_of_several_batches_stand_in_order_however_many_are_held_together(
    tiny_run: Run, five_records: Records, monkeypatch: pytest.MonkeyPatch, held_bytes: int
) -> None:
    monkeypatch.setattr("shared.shard._HELD_BYTES", held_bytes)
    run = replace(tiny_run, shard_size=5)
    with ShardWriter(run, 0, five_records) as writer:
        for start in (0, 1, 3, 4, 2):  # the last ones apart
            writer.write(start, make_rows(start, 1))
        assert writer.publish(TIMINGS)
    expected = make_rows(0, 5)
    with h5py.File(run.shard_path(0)) as file:
        np.testing.assert_array_equal(file["logit"][...], expected.logits)
        np.testing.assert_array_equal(file["prediction"][...], expected.predictions)
        for method in ("cam", "gradcam"):
            np.testing.assert_array_equal(file[f"{method}__c2"][...], expected.attributions[method, "c2"])


def test_leaving_without_publishing_leaves_nothing(tiny_run: Run, five_records: Records) -> None:
    with pytest.raises(KeyboardInterrupt), ShardWriter(tiny_run, 0, five_records) as writer:
        writer.write(0, make_rows(0, 5))
        assert len(os.listdir(tiny_run.building_dir)) == 1
        raise KeyboardInterrupt
    assert os.listdir(tiny_run.building_dir) == []
    assert tiny_run.published_shards() == set()


def test_the_second_writer_leaves_the_first_shard(
    published: Path, tiny_run: Run, five_records: Records
) -> None:
    before = published.read_bytes()
    run = replace(tiny_run, shard_size=5)
    with ShardWriter(run, 0, five_records) as writer:
        writer.write(0, make_rows(5, 5))
        assert writer.publish(TIMINGS) is False
    assert published.read_bytes() == before
    assert os.listdir(run.building_dir) == []


def test_doing_failed_rows_again_makes_a_file_of_its_own(tiny_run: Run, five_records: Records) -> None:
    with ShardWriter(tiny_run, 0, five_records, revision=1) as writer:
        writer.write(0, make_rows(0, 5))
        writer.publish(TIMINGS)
    assert tiny_run.published_shards() == set()
    assert read_attributes(tiny_run.shard_path(0, 1))["revision"] == 1


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from shared.errors import StorageError
from shared.run import read_run
from shared.shard import Rows, ShardWriter, Timings

run, limit = read_run(Path(sys.argv[1])), int(sys.argv[2])
records = run.shard_records(0)
noise = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
rows = Rows(np.zeros(2, np.int8), ["", ""], noise[:, :, 0, 0], noise[:, :, 0, 0], np.zeros(2, np.int16),
            np.zeros((2, 3), np.int16), {pair: noise for pair in run.request.attributions})

def make():
    with ShardWriter(run, 0, records) as writer:
        writer.write(0, rows)
        return writer.publish(Timings(0, 0, 0, 0))

resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
try:
    make()
except StorageError as error:
    print("writing failed" in str(error), list(run.building_dir.iterdir()), run.published_shards())
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(make(), flush=True)
import os; os._exit(0)  # HDF5 may crash at the end of a process in which closing a file failed
"""


@pytest.mark.parametrize("limit", [0, 10_000, 30_000])
def test_a_full_disk_is_storage_trouble_and_the_next_try_works(run_dir: Run, limit: int) -> None:
    """A limit on the size of files stands for the full disk: HDF5 really fails, at different places."""
    command = [sys.executable, "-c", FULL_DISK, str(run_dir.dir), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["True [] set()", "True"], done.stderr[-2_000:]
    assert run_dir.published_shards() == {0}


def test_a_run_directory_that_cannot_be_written_is_storage_trouble(
    tiny_run: Run, five_records: Records
) -> None:
    tiny_run.dir.mkdir(parents=True)
    (tiny_run.dir / "state").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="writing failed"):
        ShardWriter(tiny_run, 0, five_records)


def test_publishing_that_fails_is_storage_trouble(
    tiny_run: Run, five_records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", fail)
    with (
        pytest.raises(StorageError, match=r"shard-000000000\.h5: writing failed: .*Input/output error"),
        ShardWriter(tiny_run, 0, five_records) as writer,
    ):
        writer.write(0, make_rows(0, 5))
        writer.publish(TIMINGS)
    assert os.listdir(tiny_run.building_dir) == []


def test_what_dead_processes_of_this_machine_left_is_removed(tiny_run: Run) -> None:
    host = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    names = {
        f"shard-000000000.{host}-{dead.pid}-0a1b2c3d.h5": False,
        f"shard-000000000.r2.{host}-{dead.pid}-0a1b2c3d.h5": False,
        f"shard-000000000.{host}-{os.getpid()}-0a1b2c3d.h5": True,
        f"shard-000000000.{host}-2-{dead.pid}-0a1b2c3d.h5": True,  # of a machine named like ours with "-2"
        f"shard-000000000.elsewhere-{dead.pid}-0a1b2c3d.h5": True,
    }
    tiny_run.building_dir.mkdir(parents=True)
    for name in names:
        (tiny_run.building_dir / name).touch()
    remove_abandoned(tiny_run)
    assert set(os.listdir(tiny_run.building_dir)) == {name for name, stays in names.items() if stays}
