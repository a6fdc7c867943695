"""What became of a row: the values of the variable `status` in a shard."""

from enum import IntEnum


class Status(IntEnum):
    """Why a row has results, or has none; `error` of the same row says it in words."""

    OK = 0
    MISSING = 1
    UNREADABLE = 2
    TOO_LARGE = 3
    MODEL_ERROR = 4
    CRASHED_WORKER = 5
