"""The model that a worker has loaded, and what was compiled from it for each run."""

import logging
from collections import OrderedDict
from pathlib import Path

import keras

from shared.errors import DeviceMemoryError, ModelError
from shared.file_cache import FileCache, local_copy
from shared.model_source import ModelSource, file_sha256
from shared.run import LAYERS_FILE, Run
from shared.settings import Settings
from worker.adapter import adapter_of, checked_code
from worker.explain import Explainer
from worker.model import LoadedModel, load_model
from worker.path_map import PathMap
from worker.pipeline import Engine
from worker.process import prepare_tensorflow
from worker.reader import ImageReader
from worker.turns import Turns

log = logging.getLogger(__name__)
_BATCH_SIZE_CPU = 16
_BATCH_SIZE_GPU = 64
_ENGINES_KEPT = 4


class Engines:
    """Makes what a run needs once, and keeps that of the last few, for runs that interleave."""

    def __init__(self, settings: Settings, paths: PathMap, reader: ImageReader, turns: Turns):
        self._settings = settings
        self._paths = paths
        self._reader = reader
        self._turns = turns
        self._cache = FileCache.from_settings(settings)
        self._has_gpu = prepare_tensorflow()
        self._batch_size = settings.batch_size or (_BATCH_SIZE_GPU if self._has_gpu else _BATCH_SIZE_CPU)
        self._model: LoadedModel | None = None
        self._source: ModelSource | None = None
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    def engine_for(self, run: Run) -> Engine:
        """Return what a run needs, compiled; where it is new, nothing else computes meanwhile.

        Raises:
            ModelError: the model has changed since planning, cannot be loaded, or is not trusted.
        """
        engine = self._engines.get(run.run_id)
        if engine is None:
            with self._turns.model:
                engine = self._engines.get(run.run_id) or self._make(run)
        return engine

    def use_smaller_batches(self, engine: Engine, error: DeviceMemoryError) -> None:
        """Halve the batches after an engine's were too large, unless another shard has already done so.

        Raises:
            DeviceMemoryError: they were asked for, or cannot be smaller.
        """
        if self._settings.batch_size or engine.explainer.batch_size == 1:
            raise error
        with self._turns.model:
            smaller = engine.explainer.batch_size // 2
            if smaller < self._batch_size:
                self._batch_size = smaller
                self._engines.clear()
                log.warning("out of memory: going on with batches of %d images", smaller)

    def _make(self, run: Run) -> Engine:
        model = self._model_for(run)
        batch_size = min(self._batch_size, run.shard_size)
        explainer = Explainer(model, run.spec, run.request, batch_size, xla=self._has_gpu)
        adapter = adapter_of(run, model.graph, self._settings.trust_model)
        engine = Engine(explainer, adapter, self._reader, self._paths.here)
        self._engines[run.run_id] = engine
        if len(self._engines) > _ENGINES_KEPT:
            self._engines.popitem(last=False)
        return engine

    def _model_for(self, run: Run) -> LoadedModel:
        with local_copy(self._paths.here(run.model_path), self._cache) as path:
            if path is None:
                raise ModelError(f"{run.model_path}: no such model file (any more).")
            return self._model_in(path, run)

    def _model_in(self, path: Path, run: Run) -> LoadedModel:
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
