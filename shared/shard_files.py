"""The published shard files of a run: which there are, of what size."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StorageError
from shared.run import Run, parse_shard_name, shard_folder


@dataclass(frozen=True, order=True)
class ShardFile:
    """A published file: a shard (revision 0), or some of its rows done again (revision 1 and on).

    Attributes:
        path: absolute.
        num_bytes: its size.
    """

    shard: int
    revision: int
    path: Path
    num_bytes: int

    @property
    def name(self) -> str:
        """Its path inside the run directory, with `/`: what table and index know it by."""
        return "/".join(self.path.parts[-3:])


def find_shard_files(run: Run) -> list[ShardFile]:
    """Return every published file, by shard and revision; files of other names are no shards.

    Raises:
        StorageError: the folders cannot be read.
    """
    found = []
    try:
        for folder in sorted((run.dir / "shards").glob("[0-9]*/")):
            with os.scandir(folder) as entries:
                found += [file for entry in entries if (file := _shard_file(run, folder, entry))]
    except OSError as error:
        raise StorageError(f"{run.dir / 'shards'}: reading failed: {error.strerror}.") from error
    return sorted(found, key=lambda one: (one.shard, one.revision))


def _shard_file(run: Run, folder: Path, entry: os.DirEntry[str]) -> ShardFile | None:
    """Return the shard file of a folder's entry; a link that leads nowhere is none."""
    numbers = parse_shard_name(entry.name)
    if not numbers or numbers[0] >= run.num_shards or shard_folder(numbers[0]) != folder.name:
        return None
    try:
        return ShardFile(*numbers, folder / entry.name, entry.stat().st_size)
    except FileNotFoundError:
        return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
