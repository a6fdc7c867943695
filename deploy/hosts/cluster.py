"""camshard on the hosts: a broker, a producer that waits for its run, and workers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.hosts.data import IMAGES, METADATA, MODEL, PACE, Data
from deploy.hosts.network import MOUNTS, Host, HostPlan, HostsError, Lan, lan

SHARE = MOUNTS / "shared"  # as the producer has it, and so as the run has it
WORKERS = ("worker1", "worker2", "worker3")
PLANS = [
    HostPlan("broker", SHARE),
    HostPlan("producer", SHARE),
    HostPlan("worker1", SHARE),
    HostPlan("worker2", MOUNTS / "nas" / "camshard"),
    HostPlan("worker3", MOUNTS / "data"),
]
_PORT = 6379


@dataclass(frozen=True)
class Cluster:
    """The hosts with camshard at work on them.

    Attributes:
        run_dir: the run as this machine has it.
        producer: `camshard enqueue --wait`.
        launchers: `camshard worker --exit-when-done`, by host.
    """

    lan: Lan
    run_dir: Path
    log_dir: Path
    producer: subprocess.Popen[bytes]
    launchers: dict[str, subprocess.Popen[bytes]]

    def log(self, host: str) -> str:
        """Return what the programs of a host have printed."""
        return (self.log_dir / f"{host}.log").read_text(errors="replace")


@contextmanager
def cluster(data: Data, name: str, log_dir: Path) -> Iterator[Cluster]:
    """Start the hosts, and on them a broker, three workers and a run of that name.

    Raises:
        HostsError: the hosts cannot be made here.
    """
    (data.folder / "broker").unlink(missing_ok=True)  # the last one's
    log_dir.mkdir()
    with lan(PLANS, data.folder) as hosts:
        _start_broker(hosts["broker"], log_dir)
        launchers = {one: _start_worker(hosts[one], data, name, log_dir) for one in WORKERS}
        producer = _start_producer(hosts["producer"], data, name, log_dir)
        yield Cluster(hosts, data.folder / "runs" / name, log_dir, producer, launchers)


def run_alone(data: Data, log_dir: Path) -> Path:
    """Make the same run, without the pace, on one host by itself; return its directory.

    Raises:
        HostsError: the run failed.
    """
    log_dir.mkdir()
    log_path = log_dir / "alone.log"
    with lan([HostPlan("alone", SHARE)], data.folder) as hosts:
        workers = ["--batch-size", data.batch_size, "--gpus", "none"]
        command = _camshard("run", *_plan(data, "alone"), *workers)
        code = hosts["alone"].start(*command, log_path=log_path).wait()
    if code != 0:
        raise HostsError(f"the run on one host ended with code {code}: {log_path.read_text()[-2000:]}")
    return data.folder / "runs" / "alone"


def _start_broker(host: Host, log_dir: Path) -> None:
    listen = ["--listen", f"{host.address}:{_PORT}", "--data", "broker"]
    command = _camshard("broker", *listen, "--broker-file", host.share / "broker")
    host.start(*command, log_path=log_dir / "broker.log")


def _start_worker(host: Host, data: Data, run: str, log_dir: Path) -> subprocess.Popen[bytes]:
    """Start a launcher; where the shared folder lies elsewhere than the run says, tell it."""
    runs = host.share / "runs"
    command = [
        *_camshard("worker", "--gpus", "none", "--batch-size", data.batch_size, "--trust-model"),
        "--broker-file", host.share / "broker", "--runs-root", runs, "--exit-when-done", runs / run,
    ]  # fmt: skip
    if host.share != SHARE:
        command += ["--map", f"{SHARE}={host.share}"]
    return host.start(*command, log_path=log_dir / f"{host.name}.log")


def _start_producer(host: Host, data: Data, run: str, log_dir: Path) -> subprocess.Popen[bytes]:
    pace = ["--adapter", f"{SHARE / PACE}:make_inputs", "--trust-model"]
    command = _camshard("enqueue", *_plan(data, run), *pace, "--broker-file", SHARE / "broker", "--wait")
    return host.start(*command, log_path=log_dir / "producer.log")


def _plan(data: Data, run: str) -> list[object]:
    return [
        "--metadata", SHARE / METADATA, "--images", SHARE / IMAGES, "--model", SHARE / MODEL,
        "--shard-size", data.shard_size, "--out", SHARE / "runs" / run,
    ]  # fmt: skip


def _camshard(*arguments: object) -> list[object]:
    return [sys.executable, "-P", "-m", "camshard", *arguments]
