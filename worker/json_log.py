"""The workers' log as JSON: one object a line."""

import logging

from pythonjsonlogger.json import JsonFormatter

_RENAMED = {"asctime": "time", "levelname": "level", "name": "logger"}


def json_formatter(worker: str) -> logging.Formatter:
    """Return what writes time (ISO 8601), level, logger, message and worker of a record.

    What a record says of its task stands beside them: run, shard, images, seconds.
    """
    return JsonFormatter(
        "{asctime}{levelname}{name}{message}", style="{", rename_fields=_RENAMED,
        static_fields={"worker": worker}, datefmt="%Y-%m-%dT%H:%M:%S%z",
    )  # fmt: skip
