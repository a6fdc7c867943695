"""Set damaged files aside, below RUN/damaged/, and write anew what can be written."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path

from camshard.verify.finding import Finding, Kind
from shared.errors import StorageError
from shared.finish import finish_run
from shared.publish import fsync_path, write_atomically
from shared.run import Run
from shared.table import Digests


def repair(
    run: Run, findings: Sequence[Finding], recorded: dict[str, Digests]
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Move what is damaged away, so that the command that began the run makes it anew.

    Table and index that know of files which are then not there go with them. Where all shards are there,
    table and index are written.

    Args:
        recorded: what table and index know of shard files.

    Returns:
        The findings, with where their files went; and the names of what was written anew.

    Raises:
        StorageError: a file cannot be moved or written.
    """
    absent = {one.path for one in findings if one.can_be_set_aside or one.kind == Kind.GONE}
    bad = {one.path for one in findings if one.can_be_set_aside}
    for name, digests in recorded.items():
        if name not in bad and (lost := sorted(digests.keys() & absent)):
            findings = [
                *findings,
                Finding(name, Kind.DAMAGED, f"it knows {lost[0]}, which is not there any more"),
            ]
    try:
        found = _set_aside(run, findings)
    except OSError as error:
        raise StorageError(f"{run.dir}: damaged files cannot be moved: {error}.") from error
    return tuple(found), tuple(_write_anew(run, found))


def _set_aside(run: Run, findings: Sequence[Finding]) -> list[Finding]:
    """Move files to the paths they have in the run, below a new folder; say there why."""
    if not any(one.can_be_set_aside for one in findings):
        return list(findings)
    folder = _new_folder(run.dir / "damaged")
    moved: dict[str, str] = {}
    for one in findings:
        if one.can_be_set_aside and one.path not in moved and _move(run.dir / one.path, folder / one.path):
            moved[one.path] = (folder / one.path).relative_to(run.dir).as_posix()
    found = [replace(one, moved_to=moved.get(one.path)) for one in findings]
    why = [asdict(one) for one in found if one.moved_to]
    write_atomically(folder / "why.json", json.dumps(why, indent=1, ensure_ascii=False).encode())
    return found


def _new_folder(parent: Path) -> Path:
    """Make a folder of this moment's, which nothing is in."""
    name = time.strftime("%Y-%m-%dT%H%M%SZ", time.gmtime())
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}.{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        break
    return folder


def _move(path: Path, target: Path) -> bool:
    """Move a file or folder within the run; return whether it was still there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(path, target)
    except FileNotFoundError:
        return False
    fsync_path(target.parent)
    fsync_path(path.parent)
    return True


def _write_anew(run: Run, findings: Sequence[Finding]) -> list[str]:
    """Write table and index of a complete run; not from a manifest or shards that are in doubt."""
    if any(one.keep or one.kind == Kind.UNCHECKED for one in findings):
        return []
    before = _state(run)
    if not finish_run(run):
        return []
    return [name for name, state in _state(run).items() if state != before.get(name)]


def _state(run: Run) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (run.table_path, run.index_path) if path.exists()}
