"""What runs beside others: brokers, workers, and how a command finds its broker."""

import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from celery import Celery

from producer.progress import has_ended
from shared.broker import check_broker, look_at_queue_age, make_app, without_password
from shared.broker_server import Listening, broker_url, listening_broker, parse_listen
from shared.errors import BrokerError, CamshardError, MissingExtraError
from shared.run import Run, read_run
from shared.settings import Settings
from worker.serve import Beside, serve

_LOOK_FOR_END_EVERY_S = 2.0
_TABLE_WAIT_S = 300.0


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


class _Ended:
    """Tells whether a run, which may not be planned yet, is complete or can come no further."""

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._run: Run | None = None
        self._next = 0.0
        self._began_at = time.time()
        self._ended_at: float | None = None

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _LOOK_FOR_END_EVERY_S
        try:
            self._run = self._run or read_run(self._run_dir)
            return has_ended(self._run, since=self._began_at) and self._has_table(self._run)
        except (CamshardError, OSError):
            return False  # not planned yet, or out of reach for a while

    def _has_table(self, run: Run) -> bool:
        """Give the worker that made the last shard of a complete run the time to write table and index."""
        self._ended_at = self._ended_at or time.monotonic()
        waited_s = time.monotonic() - self._ended_at
        return run.table_path.exists() or not run.is_complete() or waited_s > _TABLE_WAIT_S
