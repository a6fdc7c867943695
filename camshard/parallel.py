"""Work spread over threads: OpenCV and the file system run beside each other."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_PENDING_PER_THREAD = 2


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Yield function(item) in the items' order, a few items ahead, so that memory stays bounded.

    Args:
        threads: default one a core, at most 32.
    """
    threads = threads or min(32, os.cpu_count() or 1)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= threads * _PENDING_PER_THREAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
