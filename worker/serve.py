"""`camshard worker`: supervised workers of this machine, until somebody stops them or their run is done."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from shared.settings import Settings
from worker.launch import Workers, local_workers
from worker.process import require_tensorflow

_SUPERVISE_EVERY_S = 1.0
_GRACE_OF_THE_IDLE_S = 10.0  # when their run is complete; without a broker Celery would not end by itself

Beside = Callable[[Workers], AbstractContextManager[object]]


def serve(
    settings: Settings,
    broker_url: str,
    ended: Callable[[], bool] = lambda: False,
    beside: Beside = lambda _: nullcontext(),
) -> None:
    """Run workers until SIGINT, SIGTERM, or `ended` says so; they may finish their shards.

    Args:
        ended: asked about every second.
        beside: what runs as long as the workers do, such as a server of metrics.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        SettingsError: a GPU is asked for that is not seen.
        KeyboardInterrupt: a second signal while shards were being finished.
    """
    require_tensorflow()
    root = settings.runs_root or Path.cwd()
    with local_workers(settings, broker_url, root, None) as workers, beside(workers):
        grace_s = min(settings.grace, _GRACE_OF_THE_IDLE_S)
        try:
            while not ended():
                workers.supervise()
                time.sleep(_SUPERVISE_EVERY_S)
        except KeyboardInterrupt:
            grace_s = settings.grace
            print(
                f"finishing the shards at work, for at most {settings.grace:.0f} s; "
                "interrupt again to stop at once",
                flush=True,
            )
        workers.finish(grace_s)
