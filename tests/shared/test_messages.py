"""The task message: JSON that carries its image ids, and nothing that is not of its schema."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import MessageError
from shared.messages import MAX_IMAGE_IDS, ShardTask, task_from_message, task_to_message

TASK = ShardTask(Path("runs/ham"), "0123456789ab", 12, ("ISIC_1", "ISIC_2"), revision=1)


def test_a_message_is_json_of_these_fields() -> None:
    assert json.loads(json.dumps(task_to_message(TASK))) == {
        "schema": 1,
        "run": "runs/ham",
        "run_id": "0123456789ab",
        "shard": 12,
        "revision": 1,
        "image_ids": ["ISIC_1", "ISIC_2"],
    }


def test_a_task_survives_the_queue() -> None:
    assert task_from_message(json.loads(json.dumps(task_to_message(TASK)))) == TASK


@pytest.mark.parametrize(
    ("differing", "text"),
    [
        ({"schema": 2}, "schema 2 received, this worker reads 1"),
        ({"run": 5}, "run must be str, received 5"),
        ({"run_id": None}, "run_id must be str"),
        ({"shard": "12"}, "shard must be int, received '12'"),
        ({"shard": True}, "shard must be int, received True"),
        ({"shard": -1}, "start at 0, received -1 and 1"),
        ({"revision": -1}, "start at 0, received 12 and -1"),
        ({"image_ids": []}, "a list of 1 to 65536 strings"),
        ({"image_ids": "ISIC_1"}, "a list of 1 to 65536 strings"),
        ({"image_ids": ["a"] * (MAX_IMAGE_IDS + 1)}, "a list of 1 to 65536 strings"),
        ({"image_ids": ["a", 2]}, "must hold strings, received 2"),
        ({"command": "rm"}, "the keys .* are wanted, received"),
    ],
)
def test_a_message_of_another_shape_is_refused(differing: dict[str, Any], text: str) -> None:
    with pytest.raises(MessageError, match=text):
        task_from_message(task_to_message(TASK) | differing)


@pytest.mark.parametrize("message", [None, [], "shard 12", {}, {"shard": 1}])
def test_what_is_no_message_is_refused(message: object) -> None:
    with pytest.raises(MessageError, match="are wanted, received"):
        task_from_message(message)
