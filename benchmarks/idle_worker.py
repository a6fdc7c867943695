"""A Celery worker whose task checks its message and does nothing else: `python -m benchmarks.idle_worker`.

Prints "ready", and at its end how many tasks it had.
"""

import sys
from itertools import count
from typing import Any

from celery import signals

from shared.broker import DEFAULT_URL, TASK_NAME, make_app
from shared.messages import task_from_message
from shared.settings import load_settings

app = make_app(load_settings({}).broker or DEFAULT_URL)
app.conf.worker_redirect_stdouts = False
_tasks = count()


@app.task(name=TASK_NAME)
def check(message: dict[str, Any]) -> None:
    """Stand in for the task that makes a shard."""
    task_from_message(message)
    next(_tasks)


@signals.worker_ready.connect
def _say_ready(**_: object) -> None:
    print("ready", flush=True)


@signals.worker_shutdown.connect
def _say_count(**_: object) -> None:
    print(next(_tasks), flush=True)


if __name__ == "__main__":
    app.worker_main(
        ["--quiet", "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle", *sys.argv[1:]]
    )
