"""What the files of a run say of each other, and who is to blame where they differ."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from camshard.verify.file_check import FileCheck
from camshard.verify.finding import Finding, Kind
from camshard.verify.manifest import ManifestCheck, manifest_finding
from camshard.verify.table import TableCheck, differing_table
from shared.index import MOST_FILES
from shared.run import Run, parse_shard_name
from shared.shard_files import ShardFile
from shared.table import Digests


@dataclass(frozen=True)
class Witnesses:
    """All that was looked at.

    Attributes:
        index: None where there is no index.h5.
        checks: of the files, in their order; added one by one.
    """

    run: Run
    manifest: ManifestCheck
    table: TableCheck
    index: FileCheck | None
    files: Sequence[ShardFile]
    checks: list[FileCheck]

    @property
    def recorded(self) -> dict[str, Digests]:
        """What table and index know of the shard files."""
        known = {self.run.table_path.name: self.table.digests}
        known[self.run.index_path.name] = self.index.shard_files if self.index else None
        return {name: digests for name, digests in known.items() if digests is not None}


def judge(seen: Witnesses) -> Iterator[Finding]:
    """Yield everything that is wrong, the run's own files first.

    Where a shard's ids are not the manifest's, and the table's are not either, the manifest is to blame, else
    the shard. Where all shards are of one other run, run.json is.
    """
    wrong_in_manifest = _differing_shards(seen) & seen.table.shards_that_differ
    if seen.manifest.finding:
        yield seen.manifest.finding
    if wrong_in_manifest:
        shard = min(wrong_in_manifest)
        yield manifest_finding(seen.run, f"shard {shard} and table.parquet hold other image ids than it")
    yield from _summary_findings(seen, wrong_in_manifest)
    other_run = _other_run_of_all(seen)
    if other_run:
        what = f"it is of run {seen.run.run_id}, and all shards are of run {other_run}: put theirs back"
        yield Finding("run.json", Kind.DAMAGED, what, keep=True)
        return
    for file, check in zip(seen.files, seen.checks, strict=True):
        if check.problem and not (check.ids_differ and file.shard in wrong_in_manifest):
            yield Finding(file.name, *check.problem)
    yield from _absent_files(seen)


def _differing_shards(seen: Witnesses) -> set[int]:
    pairs = zip(seen.files, seen.checks, strict=True)
    return {file.shard for file, check in pairs if check.ids_differ}


def _other_run_of_all(seen: Witnesses) -> str | None:
    runs = {check.run_id for check in seen.checks}
    other = runs.pop() if len(runs) == 1 else None
    return other if other not in (None, "None", seen.run.run_id) and len(seen.checks) > 1 else None


def _summary_findings(seen: Witnesses, wrong_in_manifest: set[int]) -> Iterator[Finding]:
    """Yield what is wrong with table.parquet and index.h5."""
    differing = seen.table.shards_that_differ - wrong_in_manifest
    table_finding = seen.table.finding or (differing_table(seen.run, differing) if differing else None)
    index_problem = seen.index.problem if seen.index else None
    if seen.index and seen.index.ids_differ and wrong_in_manifest:
        index_problem = None
    if table_finding:
        yield table_finding
    if index_problem:
        yield Finding(seen.run.index_path.name, *index_problem)
    yield from _wrong_records(seen)
    yield from _outdated(seen, bool(table_finding), bool(index_problem))


def _wrong_records(seen: Witnesses) -> Iterator[Finding]:
    """Of two records that differ, the file itself says which one is right."""
    for name, digests in seen.recorded.items():
        for file, check in zip(seen.files, seen.checks, strict=True):
            if check.digest and digests.get(file.name, check.digest) != check.digest:
                what = f"size or SHA-256 that it holds of {file.name} are not those of the file"
                yield Finding(name, Kind.DAMAGED, what)
                break


def _outdated(seen: Witnesses, bad_table: bool, bad_index: bool) -> Iterator[Finding]:
    """Yield what of table and index a complete run lacks, or what does not know all files."""
    if len({one.shard for one in seen.files if one.revision == 0}) < seen.run.num_shards:
        return
    recorded = seen.recorded
    for path, is_bad, is_wanted in (
        (seen.run.table_path, bad_table, True),
        (seen.run.index_path, bad_index, len(seen.files) <= MOST_FILES),
    ):
        if is_bad or not is_wanted:
            continue
        newer = [one.name for one in seen.files if one.name not in recorded.get(path.name, {})]
        if path.name not in recorded:
            what = "not there, and the run is complete: --repair writes it"
            yield Finding(path.name, Kind.OUTDATED, what)
        elif newer:
            what = f"it lacks {newer[0]}, which is newer: --repair writes it anew"
            yield Finding(path.name, Kind.OUTDATED, what)


def _absent_files(seen: Witnesses) -> Iterator[Finding]:
    there = {one.name for one in seen.files}
    sources: dict[str, list[str]] = {}
    for source, digests in seen.recorded.items():
        for name in sorted(digests.keys() - there):
            sources.setdefault(name, []).append(source)
    for name, known_by in sorted(sources.items()):
        yield Finding(name, Kind.GONE, f"it is not there, and was when {' and '.join(known_by)} were written")
    first = {one.shard for one in seen.files if one.revision == 0}
    gone = {
        numbers[0]
        for name in sources
        if (numbers := parse_shard_name(name.split("/")[-1])) and not numbers[1]
    }
    yield from _missing(seen.run, [one for one in range(seen.run.num_shards) if one not in first | gone])


def _missing(run: Run, shards: list[int]) -> Iterator[Finding]:
    """Yield one finding a stretch of consecutive shards."""
    for _, group in groupby(enumerate(shards), key=lambda pair: pair[1] - pair[0]):
        stretch = [shard for _, shard in group]
        path = run.shard_path(stretch[0]).relative_to(run.dir).as_posix()
        several = f"shards {stretch[0]} to {stretch[-1]} are not made yet"
        yield Finding(path, Kind.MISSING, several if len(stretch) > 1 else "the shard is not made yet")
