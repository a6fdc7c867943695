"""What a worker process keeps between tasks, and what it checks before it touches a run."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import tensorflow as tf

from shared.attempts import worker_name
from shared.errors import MessageError, ModelError, OutOfReachError, RunError
from shared.heartbeat import Heart
from shared.messages import ShardTask
from shared.model_source import ModelSource, file_sha256
from shared.records import Records
from shared.run import LAYERS_FILE, Run, read_run
from shared.settings import Settings, load_settings
from shared.shard import remove_abandoned
from worker.adapter import adapter_of, checked_code
from worker.explain import Explainer
from worker.model import LoadedModel, load_model
from worker.path_map import parse_path_map
from worker.pipeline import Engine, make_shard
from worker.process import prepare_tensorflow
from worker.reader import ImageReader

log = logging.getLogger(__name__)
_BATCH_SIZE_CPU = 16
_BATCH_SIZE_GPU = 64
_ENGINES_KEPT = 4


class Session:
    """The model a worker has loaded, what was compiled from it for each run, and the reading threads."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._root = (settings.runs_root or Path.cwd()).resolve()
        self._paths = parse_path_map(settings.map)
        self._has_gpu = prepare_tensorflow()
        self._reader = ImageReader(settings.read_threads)
        self._batch_size = settings.batch_size or (_BATCH_SIZE_GPU if self._has_gpu else _BATCH_SIZE_CPU)
        self._model: LoadedModel | None = None
        self._source: ModelSource | None = None
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    def find_run(self, task: ShardTask) -> Run:
        """Return the run that a message names, as this machine has it.

        It is read anew for every task: who plans the same run again may have moved its images.

        Raises:
            OutOfReachError: the directory is not below --runs-root, or holds no run.
            MessageError: the run is not the message's.
            StorageError: the storage under it failed.
        """
        run_dir = self._paths.here(task.run)
        if not run_dir.resolve().is_relative_to(self._root):
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
        with Heart(run, worker_name(), task.shard) as heart:
            records = _records_of(run, task)
            self._engine_for(run)
            began = time.perf_counter()
            published = self._make_in_memory(
                run, task, records, lambda rows: setattr(heart, "rows_done", rows)
            )
            seconds = time.perf_counter() - began
        log.info(
            "run %s, shard %d: %d images in %.1f s (%.1f images/s)%s", run.run_id, task.shard, len(records),
            seconds, len(records) / seconds, "" if published else "; another worker was first",
        )  # fmt: skip
        return published

    def _make_in_memory(
        self, run: Run, task: ShardTask, records: Records, on_rows: Callable[[int], None]
    ) -> bool:
        """Make a shard in the largest batches that the device's memory takes, and remember their size."""
        while True:
            try:
                return make_shard(run, task, records, self._engine_for(run), on_rows)
            except tf.errors.ResourceExhaustedError as error:
                if self._settings.batch_size or self._batch_size == 1:
                    raise ModelError(
                        f"the device's memory does not take batches of {self._batch_size} images. "
                        "Start the worker with a smaller --batch-size, or ask for fewer layers or targets."
                    ) from error
                self._batch_size //= 2
                self._engines.clear()
                log.warning("out of memory: going on with batches of %d images", self._batch_size)

    def _engine_for(self, run: Run) -> Engine:
        """Return what a run needs, compiled; some of the last runs' are kept, for runs that interleave."""
        if run.run_id not in self._engines:
            remove_abandoned(run)
            model = self._model_for(run)
            batch_size = min(self._batch_size, run.shard_size)
            explainer = Explainer(model, run.spec, run.request, batch_size, xla=self._has_gpu)
            adapter = adapter_of(run, model.graph, self._settings.trust_model)
            self._engines[run.run_id] = Engine(explainer, adapter, self._reader, self._paths.here)
            if len(self._engines) > _ENGINES_KEPT:
                self._engines.popitem(last=False)
        self._engines.move_to_end(run.run_id)
        return self._engines[run.run_id]

    def _model_for(self, run: Run) -> LoadedModel:
        path = self._paths.here(run.model_path)
        if file_sha256(path) != run.inspection.model_sha256:
            raise ModelError(
                f"{path}: the model file has changed since run {run.run_id} was planned. "
                "Put the old file back, or plan a new run."
            )
        if run.spec.custom_layers:
            checked_code(run, LAYERS_FILE)
        source = run.model_source(path)
        if self._model is None or (self._model.sha256, self._source) != (run.inspection.model_sha256, source):
            self._model = None  # one model at a time in memory, with all that was compiled from it
            self._engines.clear()
            keras.backend.clear_session()
            self._model, self._source = load_model(source, self._settings.trust_model), source
        return self._model


@cache
def this_session() -> Session:
    """Return the one session of this process, made from environment and camshard.toml."""
    return Session(load_settings({}))


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
