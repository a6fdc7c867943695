"""The task message: one shard to make, as JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import MessageError

SCHEMA = 1
MAX_IMAGE_IDS = 65_536
_KEYS = {"schema", "run", "run_id", "shard", "revision", "image_ids"}


@dataclass(frozen=True)
class ShardTask:
    """One shard of a run to make; the image ids are those of its records, in order."""

    run: Path
    run_id: str
    shard: int
    image_ids: tuple[str, ...]
    revision: int = 0


def task_to_message(task: ShardTask) -> dict[str, Any]:
    """Return the message as JSON-serialisable values."""
    return {
        "schema": SCHEMA,
        "run": str(task.run),
        "run_id": task.run_id,
        "shard": task.shard,
        "image_ids": list(task.image_ids),
        "revision": task.revision,
    }


def task_from_message(message: object) -> ShardTask:
    """Check a message from the queue and build the task it asks for.

    Raises:
        MessageError: anything but the keys and types of this schema.
    """
    if not isinstance(message, dict) or set(message) != _KEYS:
        came = sorted(map(str, message)) if isinstance(message, dict) else type(message).__name__
        raise MessageError(f"message: the keys {sorted(_KEYS)} are wanted, received {came}.")
    if message["schema"] != SCHEMA:
        raise MessageError(
            f"message: schema {message['schema']!r} received, this worker reads {SCHEMA}. "
            "Run the same camshard version on producers and workers."
        )
    for name, kind in (("run", str), ("run_id", str), ("shard", int), ("revision", int)):
        if not isinstance(message[name], kind) or isinstance(message[name], bool):
            raise MessageError(f"message: {name} must be {kind.__name__}, received {message[name]!r}.")
    if message["shard"] < 0 or message["revision"] < 0:
        raise MessageError(
            f"message: shard and revision start at 0, received {message['shard']} and {message['revision']}."
        )
    return ShardTask(
        run=Path(message["run"]),
        run_id=message["run_id"],
        shard=message["shard"],
        image_ids=_image_ids(message["image_ids"]),
        revision=message["revision"],
    )


def _image_ids(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_IMAGE_IDS:
        raise MessageError(f"message: image_ids must be a list of 1 to {MAX_IMAGE_IDS} strings.")
    for one in value:
        if not isinstance(one, str):
            raise MessageError(f"message: image_ids must hold strings, received {one!r}.")
    return tuple(value)
