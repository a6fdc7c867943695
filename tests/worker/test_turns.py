"""When a worker may take one more shard."""

from worker.turns import MOST_SHARDS, Turns


def test_an_idle_worker_takes_one_shard():
    assert Turns().wanted == 1


def test_the_next_shard_is_taken_when_two_batches_are_left_to_compute():
    turns = Turns()
    told: list[int] = []
    turns.on_change = lambda: told.append(turns.wanted)
    with turns.take(5) as turn:
        held = []
        for _ in range(5):
            held.append(turns.wanted)
            turn.computed()
        assert held == [1, 1, 1, 2, 2]
        assert told == [2, 2, 2]
        assert turns.wanted == 2  # it is still being written
    assert turns.wanted == 1


def test_small_shards_are_taken_no_further_ahead_than_large_ones():
    turns = Turns()
    with turns.take(2):
        assert turns.wanted == 2
        with turns.take(2):
            assert turns.wanted == 2  # four batches wait


def test_where_writing_is_slow_a_few_shards_are_held_and_no_more():
    turns = Turns()
    with turns.take(0), turns.take(0), turns.take(0), turns.take(0):
        assert turns.wanted == MOST_SHARDS == 4


def test_a_shard_that_fails_gives_its_batches_up():
    turns = Turns()
    told: list[int] = []
    turns.on_change = lambda: told.append(turns.wanted)
    try:
        with turns.take(9) as turn:
            turn.computed()
            raise ValueError
    except ValueError:
        pass
    assert told == [1]
