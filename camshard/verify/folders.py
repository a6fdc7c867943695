"""Which files are in a run's folders, and which of them do not belong there."""

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from camshard.verify.finding import Finding, Kind
from shared.child_process import is_alive
from shared.run import SHARDS_PER_FOLDER, Run, parse_shard_name
from shared.shard_files import ShardFile

_CLAIM = re.compile(r"\.shard-\d{9}(\.r\d+)?\.h5\.claim\d+")
_BUILDING = re.compile(r".+\.(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.(h5|parquet)")
_CLAIM_LASTS_S = 60.0  # as publishing has it
_ELSEWHERE_LASTS_S = 24 * 3600.0  # a process of another machine that has not written for a day is gone
_OF_NFS = ".nfs"  # what NFS calls files that were removed while open


def look_into_folders(run: Run) -> tuple[list[ShardFile], list[Finding]]:
    """Return the shard files that lie where they belong, by shard and revision, and what else is there."""
    shard_files, findings = [], list(_building_findings(run))
    folders = {f"{number:05d}" for number in range(-(-run.num_shards // SHARDS_PER_FOLDER))}
    for entry in _entries(run.dir / "shards"):
        if not entry.is_dir():
            findings.append(_stray(run, entry, "only folders belong here"))
            continue
        for inner in _entries(Path(entry.path)):
            found = _shard_file(run, inner) if entry.name in folders else "its folder is none of this run's"
            if isinstance(found, ShardFile):
                shard_files.append(found)
            elif found is not None:
                findings.append(_stray(run, inner, found))
    return sorted(shard_files), findings


def _shard_file(run: Run, entry: os.DirEntry[str]) -> ShardFile | str | None:
    """Return a shard's file, or why it is none; None for what belongs to a process at work."""
    if _CLAIM.fullmatch(entry.name):
        return "left by a process that died while it published a shard" if _is_old_claim(entry) else None
    numbers = parse_shard_name(entry.name)
    if numbers is None:
        return "no name of a shard"
    if numbers[0] >= run.num_shards:
        return f"the run has {run.num_shards} shards, counted from 0"
    if run.shard_path(*numbers) != Path(entry.path):
        return f"it belongs into shards/{run.shard_path(*numbers).parent.name}"
    if not entry.is_file():
        return "no file, or a link that leads nowhere"
    return ShardFile(*numbers, Path(entry.path), entry.stat().st_size)


def _building_findings(run: Run) -> Iterator[Finding]:
    for entry in _entries(run.building_dir):
        match = _BUILDING.fullmatch(entry.name)
        if match is None:
            yield _stray(run, entry, "no name of a file that is being built")
        elif match["host"] == socket.gethostname():
            if not is_alive(int(match["pid"])):
                yield _partial(run, entry, f"process {match['pid']}, which is gone")
        elif _age_s(entry) > _ELSEWHERE_LASTS_S:
            yield _partial(run, entry, f"a process on {match['host']}, which has not written to it for a day")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                (one for one in entries if not one.name.startswith(_OF_NFS)), key=lambda one: one.name
            )
    except FileNotFoundError:
        return []


def _is_old_claim(entry: os.DirEntry[str]) -> bool:
    return _age_s(entry) > _CLAIM_LASTS_S


def _age_s(entry: os.DirEntry[str]) -> float:
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # just now published, or given up
        return 0.0


def _stray(run: Run, entry: os.DirEntry[str], what: str) -> Finding:
    return Finding(_name(run, entry), Kind.STRAY, what)


def _partial(run: Run, entry: os.DirEntry[str], whose: str) -> Finding:
    return Finding(_name(run, entry), Kind.PARTIAL, f"half-built by {whose}")


def _name(run: Run, entry: os.DirEntry[str]) -> str:
    return Path(entry.path).relative_to(run.dir).as_posix()
