"""Messages at work are renewed until the broker no longer knows them."""

import logging
import threading

from shared.errors import BrokerError
from worker import lease as lease_module
from worker.lease import Leases


def test_held_messages_are_renewed_and_acknowledged_ones_forgotten():
    asked: list[list[str]] = []

    def renew(tags):
        asked.append(sorted(tags))
        return {"at work"}

    leases = Leases(renew)
    leases.renew()
    assert asked == []  # nothing is held: nobody is asked
    for tag in ("at work", "acknowledged"):
        leases.hold(tag)
    leases.renew()
    leases.renew()
    assert asked == [["acknowledged", "at work"], ["at work"]]
    assert leases.held() == ("at work",)


def test_renewing_outlives_an_outage_of_the_broker_and_says_so_once(monkeypatch, caplog):
    answers = [BrokerError("gone."), BrokerError("gone."), {"tag"}]
    renewed = threading.Event()

    def renew(tags):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        renewed.set()
        threading.Event().wait()  # for ever: the thread ends with the process

    monkeypatch.setattr(lease_module.time, "sleep", lambda _: None)
    leases = Leases(renew)
    leases.hold("tag")
    with caplog.at_level(logging.WARNING):
        leases.start()
        assert renewed.wait(30)
    assert [record.message for record in caplog.records] == [
        "gone. The messages at work are renewed when it is back."
    ]
