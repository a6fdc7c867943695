import threading
from collections.abc import Iterator

import pytest

from camshard.parallel import map_in_threads


def test_results_come_in_order_from_several_threads() -> None:
    barrier = threading.Barrier(2, timeout=30)

    def together(number: int) -> int:
        barrier.wait()
        return number * number

    assert list(map_in_threads(together, range(10), threads=2)) == [number * number for number in range(10)]


def test_only_a_few_items_are_taken_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    done = map_in_threads(lambda one: one, items(), threads=2)
    assert next(done) == 1
    assert taken == 4


def test_an_error_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda one: 1 // one, [1, 0, 2], threads=2))
