"""What a worker process keeps between tasks, and what it checks before it touches a run."""

import logging
import time
from functools import cache
from pathlib import Path

from shared.attempts import worker_name
from shared.errors import MessageError, ModelError, StorageError
from shared.heartbeat import Heart
from shared.inspection import file_sha256
from shared.messages import ShardTask
from shared.run import Records, Run, read_run
from shared.settings import Settings, load_settings
from worker.explain import Explainer
from worker.model import load_model
from worker.path_map import parse_path_map
from worker.pipeline import Engine, make_shard
from worker.process import prepare_tensorflow
from worker.reader import ImageReader

log = logging.getLogger(__name__)
_BATCH_SIZE_CPU = 16
_BATCH_SIZE_GPU = 64


class Session:
    """The run a worker serves, its compiled model and the reading threads."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._root = (settings.runs_root or Path.cwd()).resolve()
        self._paths = parse_path_map(settings.map)
        self._has_gpu = prepare_tensorflow()
        self._reader = ImageReader(settings.read_threads)
        self._run: Run | None = None
        self._engine: Engine | None = None

    def find_run(self, task: ShardTask) -> Run:
        """Return the run that a message names, as this machine has it.

        Raises:
            MessageError: the directory is not below --runs-root, or the run is not the message's.
            RunError: there is no run.
        """
        run_dir = self._paths.here(task.run)
        if not run_dir.resolve().is_relative_to(self._root):
            raise MessageError(
                f"run {run_dir} is not below {self._root}, where this worker may work. "
                "Start the worker there, or with --runs-root."
            )
        run = self._run
        if run is None or (run.dir, run.run_id) != (run_dir, task.run_id):
            run = read_run(run_dir)
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
        heart = Heart(run, worker_name())
        heart.beat(task.shard, 0)
        records = _records_of(run, task)
        engine = self._engine_for(run)
        began = time.perf_counter()
        published = make_shard(run, task, records, engine, lambda rows: heart.beat(task.shard, rows))
        seconds = time.perf_counter() - began
        log.info(
            "run %s, shard %d: %d images in %.1f s (%.1f images/s)%s", run.run_id, task.shard, len(records),
            seconds, len(records) / seconds, "" if published else "; another worker was first",
        )  # fmt: skip
        return published

    def _engine_for(self, run: Run) -> Engine:
        if self._engine is None or self._run is None or self._run.run_id != run.run_id:
            self._engine = None  # one model at a time in memory
            self._engine = Engine(self._load_explainer(run), self._reader, self._paths.here)
            self._run = run
        return self._engine

    def _load_explainer(self, run: Run) -> Explainer:
        path = self._paths.here(run.model_path)
        if file_sha256(path) != run.inspection.model_sha256:
            raise ModelError(
                f"{path}: the model file has changed since run {run.run_id} was planned. "
                "Put the old file back, or plan a new run."
            )
        model = load_model(path, self._settings.trust_model)
        batch_size = self._settings.batch_size or (_BATCH_SIZE_GPU if self._has_gpu else _BATCH_SIZE_CPU)
        return Explainer(model, run.spec, run.request, min(batch_size, run.shard_size))


@cache
def this_session() -> Session:
    """Return the one session of this process, made from environment and camshard.toml."""
    return Session(load_settings({}))


def _records_of(run: Run, task: ShardTask) -> Records:
    """Read the shard's records from the manifest; the message's ids must be theirs."""
    try:
        records = run.shard_records(task.shard)
    except OSError as error:
        raise StorageError(f"{run.manifest_path}: reading failed: {error}.") from error
    if tuple(records.image_ids) != task.image_ids:
        raise MessageError(
            f"{run.dir}, shard {task.shard}: the message's image ids are not those of the manifest."
        )
    return records
