"""What a worker process keeps between tasks, and what it checks before it touches a run."""

import logging
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

from shared.errors import DeviceMemoryError, MessageError, OutOfReachError, RunError
from shared.file_cache import FileCache
from shared.messages import ShardTask
from shared.records import Records
from shared.run import Run, read_run
from shared.settings import Settings, load_settings
from shared.shard import remove_abandoned
from worker.heart import Heart, this_heart
from worker.path_map import parse_path_map
from worker.pipeline import Engine, Made, make_shard
from worker.process import fetching_threads, load_tensorflow, reading_threads
from worker.reader import ImageReader
from worker.turns import TURNS, Turns

log = logging.getLogger(__name__)


class Source(Protocol):
    """Where engines come from: `worker.engines.Engines`."""

    def engine_for(self, run: Run) -> Engine:
        """Return what a run needs, compiled."""

    def use_smaller_batches(self, engine: Engine, error: DeviceMemoryError) -> None:
        """Make smaller batches than an engine's from now on, or raise the error."""


class Session:
    """Checks tasks, and makes their shards, several at once."""

    def __init__(self, settings: Settings, engines: Source, heart: Heart, turns: Turns = TURNS):
        self._root = (settings.runs_root or Path.cwd()).resolve()
        self._paths = parse_path_map(settings.map)
        self._engines = engines
        self._heart = heart
        self._turns = turns
        self._seen: set[Path] = set()

    def find_run(self, task: ShardTask) -> Run:
        """Return the run that a message names, as this machine has it.

        It is read anew for every task: who plans the same run again may have moved its images.

        Raises:
            OutOfReachError: the directory is not below --runs-root, or holds no run.
            MessageError: the run is not the message's.
            StorageError: the storage under it failed.
        """
        run_dir = self._paths.here(task.run)
        if not isinstance(run_dir, Path) or not run_dir.resolve().is_relative_to(self._root):
            raise OutOfReachError(
                f"run {run_dir} is not below {self._root}, where this worker may work. "
                "Start the worker there, or with --runs-root."
            )
        try:
            run = read_run(run_dir)
        except RunError as error:
            raise OutOfReachError(f"{error} Where it is mounted elsewhere, give --map OLD=NEW.") from error
        if run.run_id != task.run_id:
            raise MessageError(f"{run_dir} holds run {run.run_id}, the message is of run {task.run_id}.")
        if task.shard >= run.num_shards:
            raise MessageError(f"{run_dir} has {run.num_shards} shards, the message asks for {task.shard}.")
        return run

    def make(self, run: Run, task: ShardTask) -> bool:
        """Make the shard of a task; return whether this process published it.

        Raises:
            CamshardError: what keeps the shard from being made; nothing was published.
        """
        if run.dir not in self._seen:
            remove_abandoned(run)
            self._seen.add(run.dir)
        with self._heart.working(run, task.shard) as work:
            records = _records_of(run, task)
            began = time.perf_counter()
            made = self._make_in_memory(run, task, records, lambda rows: setattr(work, "rows_done", rows))
            seconds = time.perf_counter() - began
        self._heart.count(len(records), made.rows_failed, made.timings)
        log.info(
            "run %s, shard %d: %d images in %.1f s (%.1f images/s)%s", run.run_id, task.shard, len(records),
            seconds, len(records) / seconds, "" if made.published else "; another worker was first",
            extra={"run": run.run_id, "shard": task.shard, "images": len(records), "seconds": seconds},
        )  # fmt: skip
        return made.published

    def _make_in_memory(
        self, run: Run, task: ShardTask, records: Records, on_rows: Callable[[int], None]
    ) -> Made:
        """Make a shard in the largest batches that the device's memory takes."""
        while True:
            engine = self._engines.engine_for(run)
            batches = -(-len(records) // engine.explainer.batch_size)
            try:
                with self._turns.take(batches) as turn:
                    return make_shard(run, task, records, engine, turn, on_rows)
            except DeviceMemoryError as error:
                self._engines.use_smaller_batches(engine, error)


@cache
def this_session() -> Session:
    """Return the one session of this process, made from environment and camshard.toml."""
    load_tensorflow()  # into this process only
    from worker.engines import Engines

    settings = load_settings({})
    reader = ImageReader(
        settings.read_threads or reading_threads(),
        settings.read_threads or fetching_threads(),
        FileCache.from_settings(settings),
    )
    engines = Engines(settings, parse_path_map(settings.map), reader, TURNS)
    return Session(settings, engines, this_heart())


def _records_of(run: Run, task: ShardTask) -> Records:
    """Read records from the manifest; the message's ids must be those of its shard, or some of them again."""
    records = run.shard_records(task.shard)
    wanted = set(task.image_ids)
    rows = [row for row, image_id in enumerate(records.image_ids) if image_id in wanted]
    found = records.take(rows) if task.revision and rows else records
    if tuple(found.image_ids) != task.image_ids:
        raise MessageError(
            f"{run.dir}, shard {task.shard}: the message's image ids are not those of the manifest."
        )
    return found
