"""What is wrong with a file of a run, and all that a verification found."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

EXIT_CLEAN, EXIT_DAMAGE, EXIT_UNFINISHED = 0, 1, 4


class Kind(StrEnum):
    """What is the matter with a file."""

    DAMAGED = "damaged"  # unreadable, incomplete, or not what was recorded
    FOREIGN = "foreign"  # of another run, or of another place in this one
    STRAY = "stray"  # nothing that belongs where it is
    PARTIAL = "partial"  # half-built, by a process that is gone
    GONE = "gone"  # it was there when table.parquet or index.h5 was written
    UNCHECKED = "unchecked"  # storage failed, or a newer camshard wrote it
    MISSING = "missing"  # shards that are not made yet
    OUTDATED = "outdated"  # table.parquet or index.h5: not there, or not of the files that are


_NO_DAMAGE = {Kind.MISSING, Kind.OUTDATED}
_TO_SET_ASIDE = {Kind.DAMAGED, Kind.FOREIGN, Kind.STRAY, Kind.PARTIAL}


@dataclass(frozen=True)
class Finding:
    """Something wrong with one file.

    Attributes:
        path: relative to the run directory, with `/`.
        what: a sentence without its full stop.
        keep: setting it aside would not help: run.json and the manifest.
        moved_to: where --repair put it, relative to the run directory.
    """

    path: str
    kind: Kind
    what: str
    keep: bool = False
    moved_to: str | None = None

    @property
    def is_damage(self) -> bool:
        """Whether the run is not what it should be; else it is only unfinished."""
        return self.kind not in _NO_DAMAGE

    @property
    def can_be_set_aside(self) -> bool:
        """Whether moving the file away mends the run, or lets it be resumed."""
        return self.kind in _TO_SET_ASIDE and not self.keep


@dataclass(frozen=True)
class Verification:
    """What was checked and found.

    Attributes:
        shard_files: how many were checked, those of rows done again included.
        num_bytes: their size.
        complete: whether every shard is there, after the repair if there was one.
        written: what --repair wrote anew.
    """

    run_dir: Path
    run_id: str
    findings: tuple[Finding, ...]
    shard_files: int
    num_bytes: int
    complete: bool = False
    seconds: float = 0.0
    repaired: bool = False
    written: tuple[str, ...] = ()

    @property
    def damage(self) -> tuple[Finding, ...]:
        """The findings that are damage."""
        return tuple(one for one in self.findings if one.is_damage)

    @property
    def unfinished(self) -> bool:
        """Whether shards are missing that were never recorded."""
        return any(one.kind == Kind.MISSING for one in self.findings)

    @property
    def exit_code(self) -> int:
        """0 clean, 1 damage (also where it was set aside), 4 nothing but shards that are not made yet."""
        if self.damage:
            return EXIT_DAMAGE
        return EXIT_UNFINISHED if self.unfinished else EXIT_CLEAN
