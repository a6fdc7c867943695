"""One scenario under way: its clock and log, what the run says of itself, and waiting on it."""

import re
import time
from collections.abc import Callable, Iterable

from deploy.hosts.cluster import WORKERS, Cluster
from deploy.hosts.network import HostsError
from shared.heartbeat import Beat, read_beats
from shared.run import read_run

_LOOK_EVERY_S = 0.2
_TELL_EVERY_S = 10.0
_LONGEST_S = 900.0
_MADE = re.compile(r"shard (\d+): \d+ images in .*?(another worker was first)?$", re.MULTILINE)


class Log:
    """Prints lines with the seconds since a scenario began, and keeps them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._began = time.monotonic()

    def begin(self, title: str) -> None:
        """Start a scenario: its seconds count from now."""
        self._began = time.monotonic()
        self.print(f"\n{title}")

    def say(self, who: str, text: str) -> None:
        self.print(f"{time.monotonic() - self._began:7.1f} s  {who:<9} {text}")

    def print(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)


class Rehearsal:
    """A run on a cluster, watched from outside by what lies in the shared folder."""

    def __init__(self, cluster: Cluster, log: Log):
        self.cluster = cluster
        self.say = log.say
        self.wait_until("a plan", (cluster.run_dir / "run.json").exists)
        self.run = read_run(cluster.run_dir)
        self.say("producer", f"planned {self.run.num_records} images in {self.run.num_shards} shards")
        self.wait_until("work", lambda: any(self.at_work().values()))
        self.say("workers", "the first shard is at work")
        self._began = time.monotonic()

    def wait_for_share(self, share: float) -> None:
        """Wait until a share of the shards is there, 0..1."""
        wanted = round(share * self.run.num_shards)
        self.wait_until(f"{wanted} shards", lambda: len(self.run.published_shards()) >= wanted)

    def wait_for_shards(self, shards: set[int]) -> float:
        """Wait until these shards are there; return how long it took, in seconds."""
        began = time.monotonic()
        self.wait_until(f"shards {_numbers(shards)}", lambda: shards <= self.run.published_shards())
        seconds = time.monotonic() - began
        self.say("workers", f"shards {_numbers(shards)} are there {seconds:.1f} s later")
        return seconds

    def wait_for_end(self) -> float:
        """Wait until the producer says that the run is complete; return how long the run took, in seconds.

        Raises:
            HostsError: it says something else.
        """
        producer = self.cluster.producer
        self.wait_until("the end of the run", lambda: producer.poll() is not None)
        seconds = time.monotonic() - self._began
        if producer.returncode != 0:
            said = self.cluster.log("producer")[-1500:]
            raise HostsError(f"camshard enqueue ended with code {producer.returncode}: {said}")
        self.say(
            "producer", f"says that the run is complete, {seconds:.1f} s after it began; {self._progress()}"
        )
        return seconds

    def wait_for_launchers(self, names: Iterable[str] = WORKERS) -> float:
        """Wait until `--exit-when-done` has ended the hosts' launchers; return how long it took, in seconds.

        Raises:
            HostsError: one ends with an error.
        """
        began = time.monotonic()
        launchers = {name: self.cluster.launchers[name] for name in names}
        polls = [launcher.poll for launcher in launchers.values()]
        self.wait_until(
            "the launchers' end", lambda: all(poll() is not None for poll in polls), after_end=True
        )
        for name, launcher in launchers.items():
            if launcher.returncode != 0:
                raise HostsError(f"{name}: code {launcher.returncode}: {self.cluster.log(name)[-1500:]}")
        seconds = time.monotonic() - began
        self.say("workers", f"ended by themselves {seconds:.1f} s after the run")
        return seconds

    def cut_off(self, name: str, how: str) -> None:
        """Cut a host off; `how`: block or unplug."""
        switch, host = self.cluster.lan.switch, self.cluster.lan[name]
        (switch.block if how == "block" else switch.unplug)(host)
        self.say(name, f"cut off; {self._progress()}")

    def restore(self, name: str) -> None:
        """End a host's cut."""
        self.cluster.lan.switch.restore(self.cluster.lan[name])
        self.say(name, f"reachable again; {self._progress()}")

    def power_off(self, name: str) -> set[int]:
        """End a host without a goodbye; return the shards that it was at."""
        shards = self.at_work().get(name, set())
        self.cluster.lan[name].power_off()
        self.say(name, f"power off, at shards {_numbers(shards)}; {self._progress()}")
        return shards

    def let_pass(self, seconds: float) -> None:
        """Let time pass."""
        deadline = time.monotonic() + seconds
        self.wait_until("time", lambda: time.monotonic() > deadline)

    def wait_for_new_work(self, names: tuple[str, ...]) -> float:
        """Wait until each host is at a shard that it is not at now; return the seconds of the last one."""
        began, before, waiting = time.monotonic(), self.at_work(), set(names)

        def all_are() -> bool:
            now = self.at_work()
            for name in sorted(waiting):
                new = now.get(name, set()) - before.get(name, set())
                if new:
                    self.say(name, f"takes shard {min(new)}, {time.monotonic() - began:.1f} s later")
                    waiting.remove(name)
            return not waiting

        self.wait_until(f"new work for {', '.join(names)}", all_are)
        return time.monotonic() - began

    def at_work(self) -> dict[str, set[int]]:
        """Return the shards that each worker's host said lately it is at."""
        return {_host(beat): set(beat.shards) for beat in read_beats(self.run) if beat.alive}

    def wait_until(self, what: str, condition: Callable[[], bool], after_end: bool = False) -> None:
        """Wait on a condition, and tell how the run goes on meanwhile.

        Args:
            after_end: the run may end before it.

        Raises:
            HostsError: it does not come in time, or the producer has ended without it.
        """
        began = told = time.monotonic()
        while not condition():
            if self.cluster.producer.poll() is not None and not (after_end or condition()):
                raise HostsError(
                    f"no {what} before the producer ended: {self.cluster.log('producer')[-1500:]}"
                )
            if time.monotonic() - began > _LONGEST_S:
                raise HostsError(f"no {what} within {_LONGEST_S:.0f} s; {self._progress()}.")
            if time.monotonic() - told > _TELL_EVERY_S:
                told += _TELL_EVERY_S
                self.say("", self._progress())
            time.sleep(_LOOK_EVERY_S)

    def made(self) -> tuple[dict[str, int], int]:
        """Return how many shards each worker's host has published, and how many were made in vain."""
        makings = {name: _MADE.findall(self.cluster.log(name)) for name in WORKERS}
        in_vain = sum(bool(late) for of_host in makings.values() for _, late in of_host)
        return {name: sum(not late for _, late in of_host) for name, of_host in makings.items()}, in_vain

    def _progress(self) -> str:
        if not self.cluster.run_dir.joinpath("run.json").exists():
            return "nothing is planned yet"
        run = read_run(self.cluster.run_dir)
        busy = sorted(_host(beat) for beat in read_beats(run) if beat.alive and beat.shards)
        done = f"{len(run.published_shards())} of {run.num_shards} shards"
        return f"{done}; at work: {', '.join(busy) or 'nobody'}"


def _host(beat: Beat) -> str:
    return beat.worker.rpartition("-")[2]


def _numbers(shards: set[int]) -> str:
    return ", ".join(map(str, sorted(shards))) or "none"
