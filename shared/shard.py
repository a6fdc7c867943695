"""A shard file: build it apart, publish it, open it."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.child_process import is_alive
from shared.errors import ShardError, StorageError
from shared.publish import fsync_path, publish
from shared.records import Records
from shared.run import Run
from shared.shard_layout import SCHEMA, attribution_name, create_layout
from shared.status import Status

_HELD_BYTES = 16_000_000  # of attributions, before rows go into the file: fewer calls, compressed once


@dataclass(frozen=True)
class Rows:
    """Results of consecutive images, as the pipeline hands them to the writer.

    Attributes:
        statuses: int8 (n,), a `Status` each.
        errors: why a status is not ok, else "".
        logits, probabilities: float32 (n, classes), NaN where failed.
        predictions: int16 (n,), or int8 (n, classes) for multilabel; -1 where failed.
        targets: int16 (n, ranks), -1 where there is none.
        attributions: by (method, layer): float32 (n, ranks, height, width), NaN where there is none.
        features: float32 (n, channels), NaN where failed; None if not asked for.
    """

    statuses: NDArray[np.int8]
    errors: list[str]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    predictions: NDArray[np.integer[Any]]
    targets: NDArray[np.int16]
    attributions: dict[tuple[str, str], NDArray[np.float32]]
    features: NDArray[np.float32] | None = None


def join_rows(parts: list[Rows]) -> Rows:
    """Return rows that follow each other as one."""
    if len(parts) == 1:
        return parts[0]

    def join(name: str) -> Any:
        return np.concatenate([getattr(one, name) for one in parts])

    return Rows(
        statuses=join("statuses"),
        errors=[error for one in parts for error in one.errors],
        logits=join("logits"),
        probabilities=join("probabilities"),
        predictions=join("predictions"),
        targets=join("targets"),
        attributions={
            pair: np.concatenate([one.attributions[pair] for one in parts]) for pair in parts[0].attributions
        },
        features=None if parts[0].features is None else join("features"),
    )


def _attribution_bytes(rows: Rows) -> int:
    return sum(values.nbytes for values in rows.attributions.values())


@dataclass(frozen=True)
class Timings:
    """What a shard cost.

    Attributes:
        seconds_reading: the reading threads' time, added up; it overlaps with computing.
        seconds_computing: the model's time.
        started_at, first_batch_at: Unix times of the task's begin and of its first computed batch.
        seconds_waiting_for_images: what the model waited for them.
        seconds_waiting_for_writing: what the model waited until earlier rows were written.
    """

    seconds_reading: float
    seconds_computing: float
    started_at: float
    first_batch_at: float
    seconds_waiting_for_images: float = 0.0
    seconds_waiting_for_writing: float = 0.0


class ShardWriter:
    """Builds one shard apart from where it is published, a batch at a time.

    Used as a context manager; leaving it without `publish` removes what was built. The file's attribute
    `seconds_writing` holds the time for the rows and for flushing them to the system; closing, syncing and
    publishing the file come after it.

    Attributes:
        rows_failed: rows written so far whose status is not ok.
    """

    def __init__(self, run: Run, shard: int, records: Records, revision: int = 0):
        self._run = run
        self._revision = revision
        self._final_path = run.shard_path(shard, revision)
        self._path = run.new_building_path(self._final_path.name)
        self._written = np.zeros(len(records), bool)
        self._held: list[Rows] = []
        self._held_start = 0
        self.rows_failed = 0
        self._seconds = 0.0
        self._file: Any = None
        try:
            with _storage_trouble(self._path):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = h5py.File(self._path, "w", track_order=True, locking=False)
                create_layout(self._file, run, shard, revision, records)
        except BaseException:
            self._discard()
            raise

    def write(self, start: int, rows: Rows) -> None:
        """Take the rows from the shard's row `start` on; several calls' go into the file together.

        Raises:
            StorageError: the file cannot be written.
        """
        if start != self._held_start + sum(len(one.errors) for one in self._held):
            self._write_held()
        if not self._held:
            self._held_start = start
        self._held.append(rows)
        if sum(map(_attribution_bytes, self._held)) >= _HELD_BYTES:
            self._write_held()

    def _write_held(self) -> None:
        if not self._held:
            return
        began = time.perf_counter()
        rows, self._held = join_rows(self._held), []
        part = slice(self._held_start, self._held_start + len(rows.errors))
        with _storage_trouble(self._path):
            file = self._file
            file["status"][part] = rows.statuses
            file["error"][part] = rows.errors
            file["logit"][part] = rows.logits
            file["probability"][part] = rows.probabilities
            file["prediction"][part] = rows.predictions
            file["target"][part] = rows.targets
            for (method, layer), values in rows.attributions.items():
                file[attribution_name(method, layer)][part] = values
            if rows.features is not None:
                file["feature"][part] = rows.features
        self._written[part] = True
        self.rows_failed += int(np.count_nonzero(rows.statuses != Status.OK))
        self._seconds += time.perf_counter() - began

    def publish(self, timings: Timings) -> bool:
        """Check, close, sync and publish the shard; return False where another was first.

        Raises:
            ShardError: rows are missing.
            StorageError: the file cannot be written or published.
        """
        self._write_held()
        if not self._written.all():
            missing = np.flatnonzero(~self._written)
            raise ShardError(
                f"{self._final_path}: {missing.size} rows were never written, first {missing[0]}."
            )
        with _storage_trouble(self._final_path):
            began = time.perf_counter()
            self._file.flush()
            self._seconds += time.perf_counter() - began
            self._file.attrs["rows_failed"] = self.rows_failed
            for name, value in vars(timings).items():
                self._file.attrs[name] = value
            self._file.attrs["seconds_writing"] = self._seconds
            self._file.attrs["finished_at"] = time.time()
            self._file.close()
            fsync_path(self._path)
            published = publish(self._path, self._final_path)
            if published and not self._revision:  # a table that is there knows another file of this name
                self._run.table_path.unlink(missing_ok=True)
            return published

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # it was published, or is worth nothing
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def open_shard(path: Path) -> h5py.File:
    """Open a published shard for reading, without locking unless this process has it open with.

    Raises:
        ShardError: it is not there, or no HDF5 file.
    """
    try:
        return _open_like_others(path)
    except FileNotFoundError as error:
        raise ShardError(f"{path}: the shard is not there.") from error
    except OSError as error:
        raise ShardError(
            f"{path}: the shard cannot be read: {error}. Move the file away and give the command that began "
            "the run again: it makes the shard anew."
        ) from error


def _open_like_others(path: Path) -> h5py.File:
    """Open a file as this process already has it open: HDF5 wants all handles of a file to lock alike."""
    for locking in (False, None):  # None: HDF5's own choice, which xarray and plain h5py.File take
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            if "file locking" not in str(error):
                raise
    return h5py.File(path, "r", locking=True)


_ONE_READER = threading.RLock()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """Open a published shard for one thread at a time: HDF5 does not bear several.

    Raises:
        ShardError: it is not there, damaged, or written by a newer camshard.
    """
    with _ONE_READER, open_shard(path) as file:
        try:
            _check_schema(path, file.attrs.get("camshard_schema"))
            yield file
        except (OSError, KeyError, RuntimeError) as error:
            raise ShardError(
                f"{path}: damaged: {error}. `camshard verify` says what else is; with --repair it sets "
                "damaged files aside, and the command that began the run makes them anew."
            ) from error


def _check_schema(path: Path, schema: Any) -> None:
    if schema is None:
        raise ShardError(f"{path}: no shard of camshard's: it has no attribute camshard_schema.")
    if schema > SCHEMA:
        raise ShardError(
            f"{path}: schema {schema} is newer than this camshard reads ({SCHEMA}). Upgrade camshard."
        )


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the root attributes of a published shard."""
    with open_shard(path) as file:
        return dict(file.attrs)


class _storage_trouble:
    """Turns what the file system and HDF5 raise while writing into a StorageError that names the file."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError | RuntimeError):
            raise StorageError(f"{self._path}: writing failed: {error}.") from error


def remove_abandoned(run: Run) -> None:
    """Remove what processes of this machine that are gone left half-built."""
    ours = re.compile(rf".+\.{re.escape(socket.gethostname())}-(\d+)-[0-9a-f]+\.(h5|parquet)")
    for path in run.building_dir.glob("*"):
        match = ours.fullmatch(path.name)
        if match and not is_alive(int(match[1])):
            path.unlink(missing_ok=True)
