"""The log as JSON."""

import json
import logging
from datetime import datetime

from worker.json_log import json_formatter


def test_a_line_says_when_who_and_of_which_shard():
    record = logging.makeLogRecord(
        {
            "name": "worker.session",
            "levelname": "INFO",
            "msg": "made %d images",
            "args": (32,),
            "run": "ab12",
            "shard": 7,
        }
    )
    line = json_formatter("gpu0-host").format(record)
    assert "\n" not in line
    document = json.loads(line)
    assert datetime.fromisoformat(document.pop("time")).tzinfo is not None
    assert document == {
        "level": "INFO", "logger": "worker.session", "message": "made 32 images", "worker": "gpu0-host",
        "run": "ab12", "shard": 7,
    }  # fmt: skip


def test_an_exception_stays_on_the_line():
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record = logging.makeLogRecord(
            {"msg": "failed", "exc_info": (type(error), error, error.__traceback__)}
        )
    line = json_formatter("w").format(record)
    assert "\n" not in line and "ValueError: two" in json.loads(line)["exc_info"]
