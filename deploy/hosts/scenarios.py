"""What happens to the hosts while a run is under way, and what is told of it afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.hosts.checks import check_same, check_whole
from deploy.hosts.cluster import WORKERS, cluster
from deploy.hosts.data import Data
from deploy.hosts.rehearsal import Log, Rehearsal

_CUT_AFTER = 0.1  # of the shards
_VICTIM = "worker2"


@dataclass(frozen=True)
class Times:
    """How long what lasts, in seconds, and how hosts are cut off: block (packets vanish) or unplug.

    Attributes:
        worker_s: the cut of a worker's host.
        broker_s: the cut of the broker's host.
    """

    worker_s: float
    broker_s: float
    how: str


@dataclass(frozen=True)
class Outcome:
    """What a scenario showed.

    Attributes:
        run_s: from the first shard at work until the producer says that the run is complete.
        made: shards published, by worker's host.
        in_vain: shards that were computed once more than needed.
        back_s: seconds until things went on as before: hosts at work again after a cut, or the shards of a
            dead host made by others.
        difference: largest difference from a run on one machine, of the largest value; None: not compared.
    """

    scenario: str
    run_s: float
    made: dict[str, int]
    in_vain: int
    back_s: float | None
    difference: float | None


Act = Callable[[Rehearsal, Times], float | None]


def undisturbed(rehearsal: Rehearsal, _: Times) -> None:
    """Nothing happens."""
    rehearsal.wait_for_new_work(WORKERS)


def cut(rehearsal: Rehearsal, times: Times) -> float:
    """A worker's host is cut off in mid-run, and comes back."""
    rehearsal.wait_for_share(_CUT_AFTER)
    rehearsal.cut_off(_VICTIM, times.how)
    rehearsal.let_pass(times.worker_s)
    rehearsal.restore(_VICTIM)
    return rehearsal.wait_for_new_work((_VICTIM,))


def lost(rehearsal: Rehearsal, times: Times) -> None:
    """A worker's host is cut off in mid-run, to the end."""
    rehearsal.wait_for_share(_CUT_AFTER)
    rehearsal.cut_off(_VICTIM, times.how)


def broker(rehearsal: Rehearsal, times: Times) -> float:
    """The broker's host is cut off from everybody, and comes back."""
    rehearsal.wait_for_share(_CUT_AFTER)
    rehearsal.cut_off("broker", times.how)
    rehearsal.let_pass(times.broker_s)
    rehearsal.restore("broker")
    return rehearsal.wait_for_new_work(WORKERS)


def power(rehearsal: Rehearsal, _: Times) -> float:
    """A worker's host loses its power in mid-run, with the shards that it is at."""
    rehearsal.wait_for_share(_CUT_AFTER)
    return rehearsal.wait_for_shards(rehearsal.power_off(_VICTIM))


SCENARIOS: dict[str, Act] = {act.__name__: act for act in (undisturbed, cut, lost, broker, power)}


def rehearse(name: str, data: Data, times: Times, log: Log, log_dir: Path, alone_dir: Path | None) -> Outcome:
    """Play one scenario, and check the run.

    Args:
        alone_dir: the same run made on one machine, to compare with.

    Raises:
        HostsError: the run did not end, lost something, or differs.
    """
    act = SCENARIOS[name]
    log.begin(f"{name}: {act.__doc__}")
    with cluster(data, name, log_dir / name) as hosts:
        rehearsal = Rehearsal(hosts, log)
        back_s = act(rehearsal, times)
        run_s = rehearsal.wait_for_end()
        rehearsal.wait_for_launchers([one for one in WORKERS if hosts.lan[one].is_on])
    check_whole(hosts.run_dir)
    difference = check_same(hosts.run_dir, alone_dir) if alone_dir else None
    made, in_vain = rehearsal.made()
    log.say(
        "", f"whole, nothing twice{_compared(difference)}; published by {_listed(made)}; in vain: {in_vain}"
    )
    return Outcome(name, run_s, made, in_vain, back_s, difference)


def _compared(difference: float | None) -> str:
    if difference is None:
        return ""
    return f", as on one machine ({f'within {difference:.0e}' if difference else 'to the last bit'})"


def _listed(made: dict[str, int]) -> str:
    return ", ".join(f"{name}: {number}" for name, number in made.items())
