"""Messages at work are renewed, whatever becomes of the broker."""

import logging
import threading

import pytest

from shared.errors import BrokerError
from worker import lease as lease_module
from worker.lease import Leases


def test_what_is_held_is_renewed_and_nobody_is_asked_where_nothing_is():
    held: list[str] = []
    asked: list[list[str]] = []
    leases = Leases(lambda: tuple(held), lambda tags: asked.append(list(tags)))
    leases.renew()
    assert asked == []
    held += ["one", "two"]
    leases.renew()
    held.remove("one")
    leases.renew()
    assert asked == [["one", "two"], ["two"]]


@pytest.mark.parametrize("error", [BrokerError("gone."), AttributeError("gone.")])
def test_renewing_outlives_an_outage_of_the_broker_and_says_so_once(monkeypatch, caplog, error):
    answers = [error, error, None]
    renewed = threading.Event()

    def renew(tags):
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        renewed.set()
        threading.Event().wait()  # for ever: the thread ends with the process

    monkeypatch.setattr(lease_module.time, "sleep", lambda _: None)
    leases = Leases(lambda: ("tag",), renew)
    with caplog.at_level(logging.WARNING):
        leases.start()
        assert renewed.wait(30)
    assert [record.message for record in caplog.records] == [
        "gone. The messages at work are renewed when the broker is back."
    ]
