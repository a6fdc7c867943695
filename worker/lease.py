"""Keep the messages at work from being given to others, for as long as this process lives."""

import logging
import threading
import time
from collections.abc import Callable, Collection

from shared.errors import BrokerError

log = logging.getLogger(__name__)
_RENEW_EVERY_S = 2.0  # well below VISIBILITY_TIMEOUT_S, and below the brokers' sweep after an outage


class Leases:
    """Renews the broker's deadline of every message that this worker holds, from a thread of its own.

    Redis gives a message to another worker when nobody has renewed it for `VISIBILITY_TIMEOUT_S`; Celery
    itself never does. The thread outlives outages of the broker.

    Args:
        renew: tells the broker of deliveries by their tags, and returns those that it still knows.
    """

    def __init__(self, renew: Callable[[Collection[str]], Collection[str]]):
        self._renew = renew
        self._tags: set[str] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to renew, until the process ends."""
        threading.Thread(target=self._renew_on, name="leases", daemon=True).start()

    def hold(self, tag: str) -> None:
        """Renew a message's deadline from now on, until it is acknowledged."""
        with self._lock:
            self._tags.add(tag)

    def held(self) -> tuple[str, ...]:
        """Return the tags of the messages that are held."""
        with self._lock:
            return tuple(self._tags)

    def renew(self) -> None:
        """Renew all deadlines once, and forget the messages that the broker has no more.

        Raises:
            BrokerError: it cannot be reached.
        """
        tags = self.held()
        if tags:
            known = self._renew(tags)
            with self._lock:
                self._tags.difference_update(set(tags).difference(known))

    def _renew_on(self) -> None:
        troubled = False
        while True:
            time.sleep(_RENEW_EVERY_S)
            try:
                self.renew()
                troubled = False
            except BrokerError as error:
                if not troubled:
                    log.warning("%s The messages at work are renewed when it is back.", error)
                troubled = True
