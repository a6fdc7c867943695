"""What bounds a run, from what its shards' model waited for."""

import pytest

from producer.bottleneck import Bottleneck, find_bottleneck
from shared.shard_facts import ShardFacts


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
    facts = [ShardFacts(0, 100.0, 110.0, *seconds) for seconds in shards]
    assert find_bottleneck(facts) == found


def test_each_is_said_in_words_that_tell_what_to_do() -> None:
    assert str(Bottleneck.READING) == "reading images: add --read-threads or move the images nearer"
