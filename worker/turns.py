"""Several shards at once in a worker: one is read, one computes, one is being written."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BATCHES_AHEAD = 2
MOST_SHARDS = 4  # one that is read, one that computes, and two being written where storage is slow


class Turn:
    """One shard's way through a worker, as its pipeline tells it.

    Attributes:
        model: held by the shard that computes.
    """

    def __init__(self, turns: "Turns", batches: int):
        self.model = turns.model
        self.batches_left = batches
        self._turns = turns

    def computed(self) -> None:
        """Tell that one more batch has been computed."""
        self._turns.forget(self, 1)


class Turns:
    """How many shards a worker may hold now.

    The next one is taken when no more than two batches wait for the model: then the reading threads run out
    of work. One that is taken earlier would be withheld from other workers at the end of a run.

    Attributes:
        model: held by the shard that computes.
        on_change: called, from any thread, when one more shard may be taken.
    """

    def __init__(self) -> None:
        self.model = threading.Lock()
        self.on_change: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._shards = 0
        self._batches = 0

    @property
    def wanted(self) -> int:
        """How many shards may be held."""
        with self._lock:
            room = self._batches <= BATCHES_AHEAD and self._shards < MOST_SHARDS
            return self._shards + room

    @contextmanager
    def take(self, batches: int) -> Iterator[Turn]:
        """Take a shard of so many batches through this worker."""
        turn = Turn(self, batches)
        with self._lock:
            self._shards += 1
            self._batches += batches
        try:
            if batches <= BATCHES_AHEAD:
                self.on_change()
            yield turn
        finally:
            with self._lock:
                self._shards -= 1
            self.forget(turn, turn.batches_left)

    def forget(self, turn: Turn, batches: int) -> None:
        """Note that batches of a turn wait for the model no longer."""
        with self._lock:
            turn.batches_left -= batches
            self._batches -= batches
            room = self._batches <= BATCHES_AHEAD
        if room:
            self.on_change()


TURNS = Turns()  # of this process: the pool and the pipeline share it
