"""What is measured of a large run, in a process of its own: python -m benchmarks.scale_steps STEP ARGUMENTS…

Prints one JSON object: seconds, and the most memory that was ever resident.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TASKS = 20


def _enqueue(flags: str) -> dict[str, float]:
    """Plan a run and fill the broker's window, as `camshard enqueue` does; at the second time, resume it."""
    from producer.enqueue import Enqueuer, ask_anew
    from producer.plan import plan_run
    from producer.run_directory import write_run_dir
    from shared.broker import make_app
    from shared.settings import load_settings

    settings = load_settings(json.loads(flags))
    assert settings.broker is not None
    plan, plan_s = _timed(lambda: plan_run(settings))
    run, write_s = _timed(lambda: write_run_dir(plan))
    enqueuer = Enqueuer(make_app(settings.broker), run, settings.window)
    missing, scan_s = _timed(lambda: ask_anew(run))
    enqueuer.start(missing)
    published, fill_s = _timed(enqueuer.fill_window)
    return {
        "plan_s": plan_s, "write_s": write_s, "scan_s": scan_s, "fill_s": fill_s, "shards": run.num_shards,
        "published": published, "manifest_mb": run.manifest_path.stat().st_size / 1e6,
    }  # fmt: skip


def _drain(run_dir: str, broker_url: str) -> dict[str, float]:
    """Publish all of a run's shards as `camshard enqueue` does, and wait until the queue is empty."""
    from camshard.job import publish_all
    from shared.broker import look_at_queue, make_app
    from shared.run import read_run
    from shared.settings import load_settings

    app, run = make_app(broker_url), read_run(Path(run_dir))

    def drain() -> int:
        number = publish_all(app, load_settings({}), run, lambda _: None)
        while sum(look_at_queue(app)):
            time.sleep(0.05)
        return number

    number, seconds = _timed(drain)
    return {"tasks": number, "seconds": seconds, "tasks_per_s": number / seconds}


def _status(run_dir: str) -> dict[str, float]:
    """Say `camshard status RUN --json`, whole."""
    from camshard import cli

    sys.argv = ["camshard", "status", run_dir, "--json"]
    try:
        cli.main()
    except SystemExit as ended:
        return {"exit_code": float(ended.code or 0)}
    raise AssertionError("the command line ends by itself")


def _records(run_dir: str) -> dict[str, float]:
    """Do what a worker does with a task before it reads images: find the run, and the shard's records."""
    from shared.run import read_run

    def look(shard: int) -> Any:
        return read_run(Path(run_dir)).shard_records(shard)

    first = _timed(lambda: look(0))[1]
    last = read_run(Path(run_dir)).num_shards - 1
    later = _timed(lambda: [look(last * task // _TASKS) for task in range(_TASKS)])[1]
    return {"first_ms": 1000 * first, "later_ms": 1000 * later / _TASKS}


_STEPS = {"enqueue": _enqueue, "drain": _drain, "status": _status, "records": _records}


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def _peak_mb() -> float:
    """Return the kernel's high-water mark; getrusage would give the parent's where that is larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6  # the kernel's kB are of 1,024 bytes


if __name__ == "__main__":
    found = _STEPS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(found | {"cpu_s": sum(os.times()[:2]), "peak_mb": _peak_mb()}))
