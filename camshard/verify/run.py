"""Check a whole run directory: folders → manifest → table → index and shards → findings."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from camshard.verify.file_check import FileCheck, FileRequest
from camshard.verify.finding import Verification
from camshard.verify.folders import look_into_folders
from camshard.verify.layout import ExpectedLayout
from camshard.verify.manifest import check_manifest
from camshard.verify.readers import Readers
from camshard.verify.repair import repair as repair_run
from camshard.verify.table import check_table
from camshard.verify.verdict import Witnesses, judge
from shared.errors import RunError
from shared.run import Run, read_run
from shared.shard_files import ShardFile
from shared.table import Digests

OnProgress = Callable[[int, int], None]


def verify_run(run_dir: Path, repair: bool = False, on_progress: OnProgress | None = None) -> Verification:
    """Read a run directory whole and say what is wrong with it.

    Args:
        repair: move damaged and stray files into RUN/damaged/, and write table and index of a complete run.
        on_progress: called with the bytes read so far and those to read in all.

    Returns:
        What was found, before any repair.

    Raises:
        RunError: there is no run, or run.json is damaged.
        StorageError: files cannot be moved or written.
        ShardError: shards cannot be read at all, for reasons of this machine.
    """
    began = time.monotonic()
    run = read_run(run_dir)
    _check_run_json(run)
    seen, verification = _verify(run, on_progress or (lambda done, total: None))
    if repair:
        findings, written = repair_run(run, verification.findings, seen.recorded)
        verification = replace(verification, findings=findings, repaired=True, written=written)
    return replace(verification, complete=run.is_complete(), seconds=time.monotonic() - began)


def _verify(run: Run, on_progress: OnProgress) -> tuple[Witnesses, Verification]:
    files, misplaced = look_into_folders(run)
    manifest = check_manifest(run)
    table = check_table(run, manifest.image_ids)
    total = sum(one.num_bytes for one in files)
    with Readers(run.dir, total) as readers:
        index = _check_index(readers, run, manifest.image_ids)
        seen = Witnesses(run, manifest, table, index, files, [])
        requests = _requests(run, files, manifest.image_ids, list(seen.recorded.values()))
        done = 0
        for file, check in zip(files, readers.check_all(requests), strict=True):
            seen.checks.append(check)
            done += file.num_bytes
            on_progress(done, total)
    return seen, Verification(run.dir, run.run_id, (*judge(seen), *misplaced), len(files), total)


def _check_run_json(run: Run) -> None:
    """Refuse counts that make no run: all else is measured by them.

    Raises:
        RunError: run.json is damaged.
    """
    counts = (run.num_records, run.shard_size)
    if not all(isinstance(one, int) and one > 0 for one in counts):
        raise RunError(
            f"{run.dir / 'run.json'}: damaged: {counts[0]} records in shards of {counts[1]}. Move it away "
            "and give the command that began the run again: it writes it anew, and published shards stay."
        )
    ExpectedLayout(run).of_rows(1)


def _check_index(readers: Readers, run: Run, image_ids: list[str] | None) -> FileCheck | None:
    if not run.index_path.exists():
        return None
    return readers.check(FileRequest(-1, 0, run.index_path.stat().st_size, image_ids))


def _requests(
    run: Run, files: Sequence[ShardFile], image_ids: list[str] | None, recorded: Sequence[Digests]
) -> Iterator[FileRequest]:
    for file in files:
        rows = run.shard_rows(file.shard)
        yield FileRequest(
            shard=file.shard,
            revision=file.revision,
            num_bytes=file.num_bytes,
            image_ids=None if image_ids is None else image_ids[rows.start : rows.stop],
            recorded=tuple({one[file.name] for one in recorded if file.name in one}),
        )
