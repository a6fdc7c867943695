"""`camshard worker`: supervised workers of this machine, until somebody stops them."""

import time
from pathlib import Path

from shared.settings import Settings
from worker.launch import Workers, local_workers
from worker.process import require_tensorflow

_SUPERVISE_EVERY_S = 1.0


def serve(settings: Settings) -> None:
    """Run workers until SIGINT or SIGTERM; the first lets them finish their shards, the second does not.

    Raises:
        MissingExtraError: TensorFlow is not installed.
        SettingsError: a GPU is asked for that is not seen.
        KeyboardInterrupt: the second signal.
    """
    require_tensorflow()
    assert settings.broker is not None
    root = settings.runs_root or Path.cwd()
    with local_workers(settings, settings.broker, root, None) as workers:
        try:
            while True:
                workers.supervise()
                time.sleep(_SUPERVISE_EVERY_S)
        except KeyboardInterrupt:
            print("finishing the shards at work; interrupt again to stop at once", flush=True)
        _drain(workers)


def _drain(workers: Workers) -> None:
    workers.drain()
    while workers.alive():
        time.sleep(0.1)
