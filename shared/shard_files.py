"""The published shard files of a run: which there are, of what size."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from shared.run import Run

_NAME = re.compile(r"shard-(\d{9})(?:\.r([1-9]\d*))?\.h5")


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
    """Return every published file, by shard and revision; files of other names are no shards."""
    found = []
    for folder in sorted((run.dir / "shards").glob("[0-9]*/")):
        with os.scandir(folder) as entries:
            for entry in entries:
                numbers = parse_name(entry.name)
                if numbers and run.shard_path(*numbers) == Path(entry.path) and numbers[0] < run.num_shards:
                    found.append(ShardFile(*numbers, Path(entry.path), entry.stat().st_size))
    return sorted(found)


def parse_name(name: str) -> tuple[int, int] | None:
    """Return shard and revision of a file's name, None where it is no shard's."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
