"""What is done to a run's files to see that `verify` finds it, and what is said of them then."""

from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from made_up_results import publish_rows

from camshard.results import open_run
from camshard.verify.finding import Verification
from camshard.verify.run import verify_run
from shared.errors import IncompleteRunError
from shared.finish import finish_run
from shared.run import Run
from shared.shard_files import sha256_of

SHARD = "shards/00000/shard-000000001.h5"


def found_in(run: Run) -> list[tuple[str, str]]:
    """Verify; return kinds and paths of what is damage."""
    return [(one.kind.value, one.path) for one in verify_run(run.dir).damage]


def what(run: Run) -> str:
    """Verify; return what is said of the only damage."""
    (only,) = verify_run(run.dir).damage
    return only.what


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x08
    path.write_bytes(content)


def chunk_offset(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        return int(file[name].id.get_chunk_info(0).byte_offset)


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def files_below(folder: Path) -> list[str]:
    return sorted(sha256_of(path) for path in folder.rglob("*") if path.is_file() and path.name != "why.json")


def repair_and_finish(run: Run, shards: list[int]) -> Verification:
    """Repair, see that just these shards are missing, make them again, and verify."""
    repaired = verify_run(run.dir, repair=True)
    assert repaired.exit_code == 1, "damage was found"
    assert verify_run(run.dir).exit_code == (4 if shards else 0)
    if shards:
        with pytest.raises(IncompleteRunError, match=run.shard_path(shards[0]).name):
            open_run(run.dir)
    for shard in shards:
        publish_rows(run, shard)
    assert finish_run(run)
    after = verify_run(run.dir)
    assert (after.findings, after.exit_code) == ((), 0)
    assert len(open_run(run.dir).table) == run.num_records
    return repaired


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])
