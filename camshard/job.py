"""A run from its plan to its end: on this machine, or through a broker."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass

from celery import Celery

from producer.enqueue import Enqueuer, ask_anew
from producer.holes import HoleFiller
from producer.progress import AccuracyCheck, Progress, Watcher
from shared.attempts import read_all_attempts
from shared.broker import check_broker, make_app
from shared.broker_server import broker_url, embedded_broker
from shared.errors import BrokerError, CamshardError, RunError, Terminated
from shared.finish import finish_run
from shared.run import Run
from shared.settings import Settings
from shared.shard import remove_abandoned
from worker.launch import Workers, local_workers
from worker.process import require_tensorflow
from worker.trusted_code import require_trust

_LOOK_EVERY_S = 0.5
_VAIN_REFILLS = 3
_LONG_WAIT_S = 60.0


@dataclass(frozen=True)
class Listener:
    """Who is told how a run goes on."""

    progress: Callable[[Progress], None]
    warning: Callable[[str], None]


def run_locally(settings: Settings, run: Run, listener: Listener) -> Progress:
    """Make the missing shards of a run with workers of this machine, and a broker of our own unless named.

    Whatever ends this function, Ctrl-C too, ends broker and workers with it and leaves no half shard; SIGTERM
    lets the workers finish those at work first.

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
                try:
                    return follow(app, settings, run, listener, workers, outlives_us=bool(named))
                except Terminated:
                    workers.finish(settings.grace)
                    raise
    finally:
        remove_abandoned(run)


def follow(
    app: Celery, settings: Settings, run: Run, listener: Listener, workers: Workers | None = None,
    outlives_us: bool = True,
) -> Progress:  # fmt: skip
    """Publish the missing shards and stay until every shard is there or given up.

    Args:
        outlives_us: the broker is somebody else's, who may start it again: its outages are waited out.

    Raises:
        BrokerError: a broker of our own went away.
        RunError: workers take the tasks and make nothing of them.
    """
    watcher, check = Watcher(run), AccuracyCheck(run)
    enqueuer = Enqueuer(app, run, settings.window)
    enqueuer.start(ask_anew(run))
    with suppress(BrokerError):  # it is asked again below
        enqueuer.fill_window()
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
        with trouble.waiting_out_the_broker(listener) if outlives_us else nullcontext():
            holes.fill(progress)
            enqueuer.fill_window()
        if holes.vain > _VAIN_REFILLS:
            raise RunError(_why_nothing_happens(run, workers))
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
        BrokerError: the broker went away; the same command goes on when it is back.
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


def exit_code(progress: Progress, allow_failed: int) -> int:
    """Return 0 all fine, 3 finished with failed rows, 4 unfinished."""
    if not progress.complete:
        return 4
    return 3 if progress.rows_failed > allow_failed else 0


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

    @contextmanager
    def waiting_out_the_broker(self, listener: Listener) -> Iterator[None]:
        """Say once an outage that the broker does not answer, and go on."""
        try:
            yield
            self._said.discard("broker")
        except BrokerError as error:
            text = self._once("broker", f"{error} Workers go on with what they hold; waiting for the broker.")
            if text:
                listener.warning(text)

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
