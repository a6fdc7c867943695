"""What bounds a run, from what its shards' model waited for."""

import pytest

from producer.bottleneck import Bottleneck, find_bottleneck, seconds_of


@pytest.mark.parametrize(
    ("shards", "found"),
    [
        ([], None),
        ([(0, 0, 0)], None),
        ([(0.5, 0.5, 9.0), (0.0, 0.0, 9.0)], Bottleneck.COMPUTING),
        ([(0.0, 0.0, 1.0), (3.0, 1.0, 1.0)], Bottleneck.READING),
        ([(0.1, 2.0, 1.0)], Bottleneck.WRITING),
    ],
)
def test_what_the_model_waited_for_longest_bounds_the_run(shards, found) -> None:
    assert find_bottleneck(shards) == found


def test_each_is_said_in_words_that_tell_what_to_do() -> None:
    assert str(Bottleneck.READING) == "reading images: add --read-threads or move the images nearer"


def test_shards_that_say_nothing_of_waits_waited_for_nothing() -> None:
    assert seconds_of({"seconds_computing": 2.5}) == (0.0, 0.0, 2.5)
