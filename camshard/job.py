"""A run from its plan to its end: on this machine, or through a broker."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from celery import Celery

from producer.enqueue import Enqueuer, ask_anew
from producer.holes import HoleFiller
from producer.progress import AccuracyCheck, Progress, Watcher
from shared.attempts import read_all_attempts
from shared.broker import check_broker, look_at_queue_age, make_app, without_password
from shared.broker_server import (
    Listening,
    embedded_broker,
    listening_broker,
    parse_listen,
    read_broker_file,
)
from shared.errors import BrokerError, CamshardError, MissingExtraError, RunError, StorageError
from shared.finish import finish_run
from shared.run import Run, read_run
from shared.settings import Settings
from shared.shard import remove_abandoned
from worker.launch import Workers, local_workers
from worker.process import require_tensorflow
from worker.serve import Beside, serve
from worker.trusted_code import require_trust

_LOOK_EVERY_S = 0.5
_VAIN_REFILLS = 3
_LONG_WAIT_S = 60.0
_FILE_WAIT_S = 60.0
_LOOK_FOR_END_EVERY_S = 2.0


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes on."""

    progress: Callable[[Progress], None]
    warning: Callable[[str], None]


def run_locally(settings: Settings, run: Run, listener: Listener) -> Progress:
    """Make the missing shards of a run with workers of this machine, and a broker of our own unless named.

    Whatever ends this function, Ctrl-C too, ends broker and workers with it and leaves no half shard.

    Raises:
        ModelError: code comes with the model, and is not trusted.
        BrokerError: no broker can be started or reached.
        RunError: workers take the tasks and make nothing of them.
    """
    for name in run.code:
        require_trust(run.dir / name, settings.trust_model)
    require_tensorflow()
    remove_abandoned(run)
    log_path = run.dir / "state" / "worker.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    named = broker_url(settings)
    broker = nullcontext(named) if named else embedded_broker()
    try:
        with broker as url:
            app = make_app(url)
            check_broker(app)
            with local_workers(settings, url, run.dir.parent, log_path) as workers:
                return follow(app, settings, run, listener, workers)
    finally:
        remove_abandoned(run)


def follow(
    app: Celery, settings: Settings, run: Run, listener: Listener, workers: Workers | None = None
) -> Progress:
    """Publish the missing shards and stay until every shard is there or given up.

    Raises:
        BrokerError: the broker went away.
        RunError: workers take the tasks and make nothing of them.
    """
    watcher, check = Watcher(run), AccuracyCheck(run)
    enqueuer = Enqueuer(app, run, settings.window)
    enqueuer.start(ask_anew(run))
    holes, trouble = HoleFiller(app, run, enqueuer), _Trouble(run, workers)
    while True:
        progress = watcher.look()
        listener.progress(progress)
        for warning in filter(None, (check.warning(), trouble.warning(progress))):
            listener.warning(warning)
        if progress.complete:
            _finish(run, listener)
        if progress.complete or progress.hopeless:
            return progress
        holes.fill(progress)
        if holes.vain > _VAIN_REFILLS:
            raise RunError(_why_nothing_happens(run, workers))
        enqueuer.fill_window()
        if workers:
            workers.supervise()
        time.sleep(_LOOK_EVERY_S)


def _finish(run: Run, listener: Listener) -> None:
    """See to it that a complete run has its table and index; results can be read without."""
    try:
        finish_run(run)
    except CamshardError as error:
        listener.warning(f"table.parquet and index.h5 were not written: {error}")


def publish_all(app: Celery, settings: Settings, run: Run, on_full: Callable[[int], None]) -> int:
    """Publish the missing shards, waiting for room in the window; return how many.

    Args:
        on_full: called once with the number of shards that wait for room, if any must.

    Raises:
        BrokerError: the broker went away.
    """
    missing = ask_anew(run)
    enqueuer = Enqueuer(app, run, settings.window)
    enqueuer.start(missing)
    published = enqueuer.fill_window()
    if not enqueuer.exhausted:
        on_full(len(missing) - published)
    while not enqueuer.exhausted:
        time.sleep(_LOOK_EVERY_S)
        enqueuer.fill_window()
    return len(missing)


def broker_url(settings: Settings) -> str | None:
    """Return the URL of the broker that is named, None where none is.

    Raises:
        BrokerError: the file that should hold it does not come.
    """
    if settings.broker or settings.broker_file is None:
        return settings.broker
    return read_broker_file(settings.broker_file, _FILE_WAIT_S)


def connect(settings: Settings) -> Celery:
    """Return the app of a broker that answers.

    Raises:
        BrokerError: none is named, or it does not answer.
    """
    url = broker_url(settings)
    if not url:
        raise BrokerError(
            "--broker is wanted: redis://host:6379/0, or CAMSHARD_BROKER in the environment, or "
            "--broker-file. `camshard run` brings its own; `camshard broker` starts one for several machines."
        )
    app = make_app(url)
    check_broker(app)
    return app


def serve_workers(settings: Settings, app: Celery) -> None:
    """Run this machine's workers until they are stopped, or their run has ended.

    Raises:
        CamshardError: what `worker.serve.serve` raises.
    """
    ended = _Ended(settings.exit_when_done) if settings.exit_when_done else lambda: False
    serve(settings, str(app.conf.broker_url), ended, _metrics(settings, app))


def _metrics(settings: Settings, app: Celery) -> Beside:
    if settings.metrics is None:
        return lambda _: nullcontext()
    address = parse_listen(settings.metrics)
    try:
        from worker.metrics import Metrics, serve_metrics
    except ImportError as error:
        raise MissingExtraError(
            "--metrics needs prometheus-client: `pip install 'camshard[monitor]'`."
        ) from error
    return lambda workers: serve_metrics(address, Metrics(workers.states, partial(look_at_queue_age, app)))


def serve_broker(listen: str, url_path: Path | None, data_dir: Path) -> None:
    """Run a broker for several machines until it is stopped.

    Raises:
        SettingsError: `listen` is no HOST:PORT.
        BrokerError: it does not start, or ends by itself.
        KeyboardInterrupt: it is stopped.
    """
    place = Listening(*parse_listen(listen), url_path or data_dir / "url", data_dir)
    with listening_broker(place) as (url, process):
        print(f"broker {without_password(url)}; the others: --broker-file {place.url_path}", flush=True)
        code = process.wait()
    raise BrokerError(f"the broker ended with code {code}; its log is {data_dir / 'broker.log'}.")


def exit_code(progress: Progress, allow_failed: int) -> int:
    """Return 0 all fine, 3 finished with failed rows, 4 unfinished."""
    if not progress.complete:
        return 4
    return 3 if progress.rows_failed > allow_failed else 0


class _Ended:
    """Tells whether a run, which may not be planned yet, is complete or can come no further."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._watcher: Watcher | None = None
        self._next = 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _LOOK_FOR_END_EVERY_S
        try:
            self._watcher = self._watcher or Watcher(read_run(self._run_dir))
            progress = self._watcher.look()
        except (RunError, StorageError):
            return False  # not planned yet, or out of reach for a while
        return progress.complete or progress.hopeless


class _Trouble:
    """Says once each: that a shard is being tried again and why, and that no worker begins."""

    def __init__(self, run: Run, workers: Workers | None):
        self._run = run
        self._workers = workers
        self._said: set[str] = set()
        self._idle_since = time.monotonic()

    def warning(self, progress: Progress) -> str | None:
        if progress.workers:
            self._idle_since = time.monotonic()
        if progress.troubled:
            one = progress.troubled[0]
            return self._once("troubled", f"shard {one.shard} is tried again: {one.error}")
        if time.monotonic() - self._idle_since > _LONG_WAIT_S:
            return self._once("idle", _why_nothing_happens(self._run, self._workers))
        return None

    def _once(self, kind: str, text: str) -> str | None:
        if kind in self._said:
            return None
        self._said.add(kind)
        return text


def _why_nothing_happens(run: Run, workers: Workers | None) -> str:
    where = f"{run.dir / 'state' / 'worker.log'}" if workers else "the log of the workers"
    reasons = [one.error for one in read_all_attempts(run) if one.error]
    if reasons:
        return f"{run.dir}: no shard appears. The last reason noted: {reasons[-1]} More is in {where}."
    return (
        f"{run.dir}: no worker has begun a shard. Read {where}; a worker must see the run directory under "
        "the same path (or --map) and below its --runs-root."
    )
