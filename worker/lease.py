"""Keep the messages at work from being given to others, for as long as this process lives."""

import logging
import threading
import time
from collections.abc import Callable, Collection

log = logging.getLogger(__name__)
_RENEW_EVERY_S = 2.0  # well below VISIBILITY_TIMEOUT_S, and below the brokers' sweep after an outage


class Leases:
    """Renews the broker's deadline of every message that this worker holds, from a thread of its own.

    Redis gives a message to another worker when nobody has renewed it for `VISIBILITY_TIMEOUT_S`; Celery
    itself never does. The thread outlives outages of the broker.

    Args:
        held: returns the broker's tags of the messages that the worker holds now.
        renew: tells the broker of them.
    """

    def __init__(self, held: Callable[[], Collection[str]], renew: Callable[[Collection[str]], object]):
        self._held = held
        self._renew = renew

    def start(self) -> None:
        """Begin to renew, until the process ends."""
        threading.Thread(target=self._renew_on, name="leases", daemon=True).start()

    def renew(self) -> None:
        """Renew all deadlines once; raises what `renew` does."""
        tags = self._held()
        if tags:
            self._renew(tags)

    def _renew_on(self) -> None:
        troubled = False
        while True:
            time.sleep(_RENEW_EVERY_S)
            try:
                self.renew()
                troubled = False
            except Exception as error:  # whatever it is: who does not renew loses what is at work
                if not troubled:
                    log.warning("%s The messages at work are renewed when the broker is back.", error)
                troubled = True
