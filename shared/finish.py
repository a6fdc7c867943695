"""Give a complete run its table and index: whoever sees the last shard published does it."""

import os
from collections.abc import Callable
from pathlib import Path

from shared.errors import StorageError
from shared.index import MOST_FILES, write_index
from shared.places import Places, find_places
from shared.publish import fsync_path
from shared.run import Run
from shared.shard_facts import ShardFacts, read_facts
from shared.shard_files import ShardFile, find_shard_files, sha256_of
from shared.table import Digests, build_table, read_digests, read_table_facts, write_table


def finish_run(run: Run) -> bool:
    """Write table.parquet and index.h5 of a complete run, unless they are there and of its newest files.

    Each appears in one step, the index first. Two processes that do it at once write the same.

    Returns:
        Whether the run is complete.

    Raises:
        ShardError: a shard cannot be read.
        StorageError: the files cannot be written.
    """
    if not run.is_complete():
        return False
    files = find_shard_files(run)
    if is_current(read_digests(run), files) and (run.index_path.exists() or len(files) > MOST_FILES):
        return True
    digests = digests_of(run, files)
    places = find_places(run, files)
    try:
        if len(files) <= MOST_FILES:
            _publish(run, run.index_path, lambda path: write_index(path, places, digests))
        else:
            _remove(run.index_path)  # of the run before rows were done again
    finally:  # the table does not wait for the index
        _publish(run, run.table_path, lambda path: _write_table(path, places, digests))
    return True


def is_current(digests: Digests | None, files: list[ShardFile]) -> bool:
    """Tell whether a table was made of just these files."""
    return digests is not None and {name: size for name, (size, _) in digests.items()} == {
        one.name: one.num_bytes for one in files
    }


def finished_facts(run: Run) -> list[ShardFacts] | None:
    """Return the facts of all shards without opening them; None unless the table is of the newest files.

    Raises:
        RunError: the table was written by a newer camshard.
        StorageError: the folders cannot be read.
    """
    if not is_current(read_digests(run), find_shard_files(run)):
        return None
    return read_table_facts(run)


def digests_of(run: Run, files: list[ShardFile]) -> Digests:
    """Return size and SHA-256 of each file; those that the table knows already are not read again.

    Raises:
        StorageError: a file cannot be read.
    """
    known = read_digests(run) or {}
    found: Digests = {}
    for file in files:
        size, digest = known.get(file.name, (-1, ""))
        try:
            found[file.name] = (
                file.num_bytes,
                digest if size == file.num_bytes else sha256_of(file.path),
            )
        except OSError as error:
            raise StorageError(f"{file.path}: reading failed: {error.strerror}.") from error
    return found


def _write_table(path: Path, places: Places, digests: Digests) -> None:
    run = places.run
    facts = [read_facts(run, shard) for shard in range(run.num_shards)]
    write_table(path, build_table(places), run, digests, facts)


def _publish(run: Run, final_path: Path, write: Callable[[Path], None]) -> None:
    path = run.new_building_path(final_path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
        fsync_path(path)
        os.replace(path, final_path)
        fsync_path(final_path.parent)
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(f"{final_path}: writing failed: {error}.") from error
    finally:
        path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: removing failed: {error.strerror}.") from error
