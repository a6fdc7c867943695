"""Which shard files of a run are there and whole enough to be opened."""

from dataclasses import dataclass

from shared.errors import IncompleteRunError, ShardError
from shared.run import Run, parse_shard_name
from shared.shard_files import ShardFile, find_shard_files
from shared.table import Digests, read_digests


@dataclass(frozen=True)
class UsableFiles:
    """The files of a run that can be read.

    Attributes:
        missing: shards that are not there, or not of the size they were published with.
        left_out: names of files that were published and are not read: their rows are those of older files.
    """

    files: tuple[ShardFile, ...]
    missing: tuple[int, ...]
    left_out: tuple[str, ...] = ()


def find_usable_files(run: Run, partial: bool) -> UsableFiles:
    """Return the files to read, after a look at their names and sizes.

    The sizes are those that table.parquet knows; of an unfinished run none are known.

    Raises:
        IncompleteRunError: shards are missing, and `partial` is not set; or no shard is there at all.
        ShardError: a file has another size than it was published with, and `partial` is not set.
    """
    files = find_shard_files(run)
    digests = read_digests(run) or {}
    altered = {one for one in files if one.num_bytes != digests.get(one.name, (one.num_bytes, ""))[0]}
    if altered and not partial:
        _refuse_altered(run, min(altered), len(altered), digests)
    whole = [one for one in files if one not in altered]
    there = {one.shard for one in whole if one.revision == 0}
    missing = tuple(shard for shard in range(run.num_shards) if shard not in there)
    gone = sorted(digests.keys() - {one.name for one in files})
    if ((missing or gone) and not partial) or not there:
        _refuse_incomplete(run, missing, gone)
    left_out = (*gone, *sorted(one.name for one in altered))
    return UsableFiles(tuple(one for one in whole if one.shard in there), missing, left_out)


def _refuse_altered(run: Run, first: ShardFile, number: int, digests: Digests) -> None:
    more = f" ({number} files are like that)" if number > 1 else ""
    raise ShardError(
        f"{first.path}: the shard has {first.num_bytes} bytes, it was published with "
        f"{digests[first.name][0]}{more}. `camshard verify {run.dir} --repair` sets it aside, and the "
        "command that began the run makes it anew; open_run(path, partial=True) leaves it out."
    )


def _refuse_incomplete(run: Run, missing: tuple[int, ...], gone: list[str]) -> None:
    redone = [name for name in gone if (parse_shard_name(name.split("/")[-1]) or (0, 0))[1]]
    if not missing:
        raise IncompleteRunError(
            f"{run.dir}: {redone[0]}, which holds rows that were done again, is not there. Bring it back, or "
            "open what there is with open_run(path, partial=True)."
        )
    if len(missing) == run.num_shards:
        raise IncompleteRunError(
            f"{run.dir}: no shard is there yet. Begin or finish the run with the command that planned it."
        )
    raise IncompleteRunError(
        f"{run.dir}: {len(missing)} of {run.num_shards} shards are not there, first "
        f"{run.shard_path(missing[0]).name}. Finish the run with the command that began it, or open what "
        "there is with open_run(path, partial=True)."
    )
