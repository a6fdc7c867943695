"""Is the manifest whole: every record of the run, each once."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from camshard.verify.finding import Finding, Kind
from shared.records import records_from_table
from shared.run import Run

MANIFEST_HELP = (
    "Move it and run.json away and give the command that began the run again: it writes both anew, and "
    "published shards stay"
)


@dataclass(frozen=True)
class ManifestCheck:
    """What is wrong with the manifest, or its ids, in order."""

    finding: Finding | None
    image_ids: list[str] | None


def check_manifest(run: Run) -> ManifestCheck:
    """Read the manifest whole, a row group at a time; nothing is compared with one that is damaged."""
    image_ids: list[str] = []
    try:
        problem = next(_problems(run, image_ids), None)
    except Exception as error:  # what pyarrow gives of a damaged file may be anything
        problem = f"it cannot be read: {error if isinstance(error, OSError) else repr(error)}"
    if problem is None:
        return ManifestCheck(None, image_ids)
    return ManifestCheck(manifest_finding(run, problem), None)


def manifest_finding(run: Run, what: str) -> Finding:
    """Return what is said of a damaged manifest."""
    return Finding(run.manifest_path.name, Kind.DAMAGED, f"{what}. {MANIFEST_HELP}", keep=True)


def _problems(run: Run, image_ids: list[str]) -> Iterator[str]:
    """Yield what is wrong; the ids are added to `image_ids`."""
    with pq.ParquetFile(run.manifest_path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            image_ids += records_from_table(file.read_row_group(group)).image_ids
    if len(image_ids) != run.num_records:
        yield f"it has {len(image_ids)} records, and run.json {run.num_records}"
    if None in image_ids or len(set(image_ids)) < len(image_ids):
        yield "an image id is missing or comes twice"
