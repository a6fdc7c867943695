"""Hosts on one machine: namespaces of their own for network, files, name and processes, and a switch."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shared.child_process import start_child, stop_child
from shared.errors import CamshardError

MOUNTS = Path("/mnt")  # hidden on every host by a file system of its own
LOCAL = MOUNTS / "local"  # a host's own disc
_NETWORK = "10.77.0.{}"  # inside the namespaces alone
_PROGRAMS = ("ip", "unshare", "nsenter")
_START_S = 20
_STOP_S = 20

# $1 name, $2 where the shared folder lies, $3 where the host mounts it, $4 names and addresses of all hosts,
# $5 the folder that holds the shared one. Process 1 waits, so that it reaps what others leave.
_BOOT = """
set -e
echo "$1" > /proc/sys/kernel/hostname
ip link set lo up
mount -t tmpfs none /mnt
mkdir -p /mnt/local "$3"
mount --bind "$2" "$3"
mount --bind "$4" /etc/hosts
mount -t tmpfs none "$5"
sleep infinity &
touch /mnt/local/booted
wait
"""


class HostsError(CamshardError):
    """The hosts cannot be made, or one does not do what it should."""


@dataclass(frozen=True)
class HostPlan:
    """A host that is wanted: its name, and where it mounts the shared folder (below /mnt)."""

    name: str
    share: Path


class Host:
    """One host, running until `power_off`."""

    def __init__(self, plan: HostPlan, address: str, boot: subprocess.Popen[bytes]):
        self.name = plan.name
        self.share = plan.share
        self.address = address
        self._boot = boot
        self._started: list[subprocess.Popen[bytes]] = []

    @cached_property
    def pid(self) -> int:
        """The host's process 1, as this machine counts."""
        return _only_child(self._boot)

    def wait_for_boot(self) -> None:
        """Wait until the host is as it should be.

        Raises:
            HostsError: it does not come up.
        """
        deadline = time.monotonic() + _START_S
        while not Path(f"/proc/{self.pid}/root{LOCAL}/booted").exists():
            if not self.is_on or time.monotonic() > deadline:
                raise HostsError(f"host {self.name} did not start.")
            time.sleep(0.02)

    def start(self, *command: object, log_path: Path) -> subprocess.Popen[bytes]:
        """Start a program on this host; it ends with the host at the latest."""
        with log_path.open("wb") as log:
            process = start_child(self._inside(command), _environment(), log.fileno())
        self._started.append(process)
        return process

    def run(self, *command: object) -> str:
        """Run a short command on this host; return what it printed.

        Raises:
            HostsError: it failed.
        """
        return _run(self._inside(command))

    @property
    def is_on(self) -> bool:
        """Whether the host runs."""
        return self._boot.poll() is None

    def power_off(self) -> None:
        """End the host and all that runs on it at once, without a goodbye."""
        if self.is_on:
            stop_child(self._boot, signal.SIGKILL, timeout_s=5)
        for process in self._started:
            process.wait(_STOP_S)

    def _inside(self, command: tuple[object, ...]) -> list[str]:
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--net", "--pid"]
        return [*enter, "env", f"--chdir={LOCAL}", *map(str, command)]


class Switch:
    """An Ethernet switch: a bridge in a network namespace of its own, a port a host."""

    def __init__(self) -> None:
        self._process = start_child(["unshare", "--net", "--fork", "--kill-child", "sleep", "infinity"])
        self._pid = _only_child(self._process)
        self._ip("link", "add", "lan", "type", "bridge")
        self._ip("link", "set", "lan", "up")

    def connect(self, host: Host) -> None:
        """Lay a cable from a host's eth0 to a port, and give the host its address."""
        port = _port(host)
        self._ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        self._ip("link", "set", port, "master", "lan", "up")
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")

    def block(self, host: Host) -> None:
        """Let nothing come or go at a host's port; its link stays up, as if a switch beyond had died."""
        self._ip("link", "set", _port(host), "nomaster")

    def unplug(self, host: Host) -> None:
        """Pull a host's cable: it sees that its link is down."""
        self._ip("link", "set", _port(host), "down")

    def restore(self, host: Host) -> None:
        """Undo `block` and `unplug`."""
        self._ip("link", "set", _port(host), "master", "lan", "up")

    def power_off(self) -> None:
        """End the switch; its cables go with it."""
        stop_child(self._process, signal.SIGKILL, timeout_s=5)

    def _ip(self, *arguments: str) -> None:
        _run(["nsenter", "--target", str(self._pid), "--net", "ip", *arguments])


@dataclass(frozen=True)
class Lan:
    """The hosts by name, and the switch between them."""

    hosts: dict[str, Host]
    switch: Switch

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]


@contextmanager
def lan(plans: list[HostPlan], shared_dir: Path) -> Iterator[Lan]:
    """Run hosts that share one folder for as long as the block lasts.

    Nothing of it outlives this process: namespaces, mounts and cables go with the processes in them, which
    the kernel ends with ours. The folder that holds `shared_dir` is hidden from the hosts, and so is /mnt.

    Raises:
        HostsError: they cannot be made here.
    """
    if reason := why_impossible():
        raise HostsError(f"no hosts can be made here: {reason}.")
    names_path = shared_dir.parent / "hosts"
    addresses = {plan.name: _NETWORK.format(number) for number, plan in enumerate(plans, start=1)}
    lines = ["127.0.0.1 localhost\n", *(f"{address} {name}\n" for name, address in addresses.items())]
    names_path.write_text("".join(lines))
    with ExitStack() as stack:
        switch = Switch()
        stack.callback(switch.power_off)
        hosts = {}
        for plan in plans:
            host = hosts[plan.name] = Host(plan, addresses[plan.name], _boot(plan, shared_dir, names_path))
            stack.callback(host.power_off)
            host.wait_for_boot()
            switch.connect(host)
        yield Lan(hosts, switch)


def why_impossible() -> str | None:
    """Return why no hosts can be made here, None where they can."""
    if any(Path(path).is_relative_to(MOUNTS) for path in (sys.prefix, sys.base_prefix, __file__)):
        return f"Python or camshard lies below {MOUNTS}, which the hosts do not see"
    if sys.platform != "linux":
        return "namespaces are a thing of Linux"
    if os.geteuid() != 0:
        return "only root makes namespaces and mounts"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: iproute2, util-linux)"
    trial = "mount -t tmpfs none /mnt && ip link add name lan type bridge && ip link add name here type veth"
    made = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "sh", "-c", trial],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return None if made.returncode == 0 else f"the kernel refuses: {made.stderr.strip()}"


def _boot(plan: HostPlan, shared_dir: Path, names_path: Path) -> subprocess.Popen[bytes]:
    own = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    told = [plan.name, str(shared_dir), str(plan.share), str(names_path), str(shared_dir.parent)]
    return start_child([*own, "sh", "-c", _BOOT, "boot", *told])


def _only_child(process: subprocess.Popen[bytes]) -> int:
    """Return the process id that `unshare --fork` waits for."""
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise HostsError(f"{process.args!r} did not start.")


def _port(host: Host) -> str:
    return f"port-{host.name}"


def _environment() -> dict[str, str]:
    """Return our environment without settings of camshard; what a host keeps for itself is on its disc."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CAMSHARD_")}
    return ours | {"TMPDIR": str(LOCAL), "PYTHONUNBUFFERED": "1"}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode != 0:
        raise HostsError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout
