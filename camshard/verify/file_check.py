"""Check one HDF5 file of a run: size and SHA-256, then all that is in it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import h5py

from camshard.verify.contents import Problem, id_problems, index_problems, read_ids, shard_problems
from camshard.verify.finding import Kind
from camshard.verify.layout import ExpectedLayout
from shared.errors import ShardError
from shared.run import Run
from shared.shard import open_shard
from shared.shard_files import ShardFile, sha256_of

_SYSTEM_ERROR = re.compile(r"errno = [1-9]")


@dataclass(frozen=True)
class FileRequest:
    """A file to check.

    Attributes:
        shard: -1 for index.h5.
        image_ids: the manifest's of the shard, or of the run; None where the manifest is damaged.
        recorded: what table and index hold to be its (size, SHA-256); none where nothing is known.
    """

    shard: int
    revision: int
    num_bytes: int
    image_ids: list[str] | None
    recorded: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class FileCheck:
    """What came of it.

    Attributes:
        problem: the weightiest thing that is wrong.
        ids_differ: whether that is that its ids are not the manifest's.
        digest: which of the recorded sizes and SHA-256 it has.
        run_id: which run it says it is of.
        shard_files: of the index: what it was made of.
    """

    problem: Problem | None = None
    ids_differ: bool = False
    digest: tuple[int, str] | None = None
    run_id: str | None = None
    shard_files: dict[str, tuple[int, str]] | None = None

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        document = json.loads(text)
        if document["problem"]:
            kind, what = document["problem"]
            document["problem"] = (Kind(kind), what)
        document["digest"] = tuple(document["digest"]) if document["digest"] else None
        files = document["shard_files"]
        document["shard_files"] = {name: tuple(one) for name, one in files.items()} if files else files
        return cls(**document)


def check_file(run: Run, request: FileRequest, layout: ExpectedLayout) -> FileCheck:
    """Read a file whole and say what is wrong with it; a digest that differs makes the rest idle."""
    is_index = request.shard < 0
    path = run.index_path if is_index else run.shard_path(request.shard, request.revision)
    try:
        digest = _recorded_digest(path, request)
        if request.recorded and digest is None:
            return FileCheck((Kind.DAMAGED, _digest_text(request)))
        with _opened(path) as opened:
            check = _check_index(opened, run, request, layout) if is_index else None
            check = check or _check_shard(opened, run, request, layout)
    except Exception as error:  # h5py raises nearly anything on a damaged file
        return FileCheck(_problem_of(error))
    return replace(check, digest=digest)


def _recorded_digest(path: Path, request: FileRequest) -> tuple[int, str] | None:
    """Return size and SHA-256 of the file if they are recorded."""
    if request.num_bytes not in {size for size, _ in request.recorded}:
        return None
    found = (request.num_bytes, sha256_of(path))
    return found if found in request.recorded else None


def _digest_text(request: FileRequest) -> str:
    sizes = sorted({size for size, _ in request.recorded})
    if request.num_bytes in sizes:
        return "its SHA-256 is not the recorded one"
    return f"it has {request.num_bytes} bytes, and {' or '.join(map(str, sizes))} are recorded"


def _check_shard(opened: h5py.File, run: Run, request: FileRequest, layout: ExpectedLayout) -> FileCheck:
    path = run.shard_path(request.shard, request.revision)
    file = ShardFile(request.shard, request.revision, path, request.num_bytes)
    return _first(shard_problems(opened, file, run, layout), opened, request)


def _check_index(opened: h5py.File, run: Run, request: FileRequest, layout: ExpectedLayout) -> FileCheck:
    check = _first(index_problems(opened, run, layout), opened, request)
    if check.problem and not check.ids_differ:
        return check
    digests = json.loads(opened.attrs["shard_files"])
    return replace(check, shard_files={name: (size, digest) for name, (size, digest) in digests.items()})


def _first(problems: Iterator[Problem], opened: h5py.File, request: FileRequest) -> FileCheck:
    problem, run_id = next(problems, None), str(opened.attrs.get("run_id"))
    if problem is not None or request.image_ids is None:
        return FileCheck(problem, run_id=run_id)
    problem = next(id_problems(read_ids(opened), request.image_ids, request.revision > 0), None)
    return FileCheck(problem, ids_differ=problem is not None, run_id=run_id)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        file = open_shard(path)
    except ShardError as error:
        raise error.__cause__ or error from None
    with file:
        yield file


def _problem_of(error: Exception) -> Problem:
    """Tell trouble of the storage from damage."""
    text = f"it cannot be read: {error}" if isinstance(error, OSError) else f"it cannot be read: {error!r}"
    from_system = getattr(error, "errno", None) or _SYSTEM_ERROR.search(str(error))
    return (Kind.UNCHECKED if from_system else Kind.DAMAGED), text
