"""How throughput grows with workers, where a stand-in that waits takes the GPU's place."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.made_up_run import plan_run
from benchmarks.waiting_worker import BATCH_S, BATCH_SIZE
from camshard.job import Listener, follow
from shared.broker import make_app
from shared.broker_server import embedded_broker
from shared.heartbeat import read_states
from shared.run import Run
from shared.settings import load_settings
from shared.shard import read_attributes

SHARD_SIZE = 256
WORKERS = (1, 2, 4, 8, 16)


def measure_scaling(
    folder: Path, workers: Sequence[int] = WORKERS, shards_each: int = 60
) -> dict[str, dict[str, float]]:
    """Return images/s by number of workers, and as shares of linear growth and of the stand-ins' own."""
    folder.mkdir(exist_ok=True)
    figures: dict[str, dict[str, float]] = {}
    for number in workers:
        rate = _measure(folder / f"run{number}", number, shards_each)
        alone = figures.get("waiting_workers_1", {}).get("images_per_s", rate)
        figures[f"waiting_workers_{number}"] = {
            "images_per_s": rate,
            "of_linear": rate / (number * alone),
            "of_the_stand_ins": rate / (number * BATCH_SIZE / BATCH_S),
        }
        print(f"{number} workers: {rate:.0f} images/s, {rate / (number * alone):.1%} of linear", flush=True)
    return figures


def _measure(run_dir: Path, workers: int, shards_each: int) -> float:
    """Return images/s from the first computed batch to the last published shard."""
    run = plan_run(run_dir, workers * shards_each * SHARD_SIZE, SHARD_SIZE)
    with embedded_broker() as url, _running(workers, url, run_dir):
        follow(make_app(url), load_settings({}), run, Listener(lambda _: None, lambda _: None))
    return (run.num_records - workers * BATCH_SIZE) / seconds_of(run)


def seconds_of(run: Run) -> float:
    """Return the time from a run's first computed batch to its last published shard."""
    shards = [read_attributes(run.shard_path(shard)) for shard in range(run.num_shards)]
    return float(max(one["finished_at"] for one in shards) - min(one["first_batch_at"] for one in shards))


@contextmanager
def _running(workers: int, url: str, run_dir: Path) -> Iterator[None]:
    """Run workers, and wait until each has said that it is there."""
    with tempfile.TemporaryDirectory() as states:
        env = os.environ | {
            "CAMSHARD_BROKER": url, "CAMSHARD_RUNS_ROOT": str(run_dir.parent), "CAMSHARD_STATES": states,
            "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.waiting_worker", "--hostname", f"w{number}@%h"],
                env=env | {"CAMSHARD_WORKER_NAME": f"w{number}"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(workers)
        ]
        try:
            while len(read_states(Path(states))) < workers:
                time.sleep(0.1)
            time.sleep(2)  # from its first beat until it asks the broker
            yield
        finally:
            for process in started:
                process.kill()
            for process in started:
                process.wait()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="camshard-bench-") as where:
        counts = [int(one) for one in sys.argv[1:]] or WORKERS
        print(measure_scaling(Path(where), counts))
