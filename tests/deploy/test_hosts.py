"""Hosts made of namespaces, and a run over them while one is cut off."""

import os
from pathlib import Path

import pytest

from deploy.hosts.cluster import PLANS, WORKERS
from deploy.hosts.data import Data, make_data
from deploy.hosts.network import HostPlan, HostsError, lan, why_impossible
from deploy.hosts.rehearsal import Log
from deploy.hosts.scenarios import Times, rehearse

_REASON = why_impossible()
pytestmark = [
    pytest.mark.service,
    pytest.mark.system,
    # a container that may not make namespaces is no fault of ours: skipped in CI, too
    pytest.mark.skipif(_REASON is not None, reason=f"no hosts can be made here: {_REASON}"),
]


@pytest.fixture
def shared_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "here").write_text("yes")
    return folder


def test_a_host_has_its_own_name_and_sees_the_shared_folder_at_its_own_place_alone(shared_dir: Path) -> None:
    plans = [HostPlan("one", Path("/mnt/shared")), HostPlan("two", Path("/mnt/nas/data"))]
    with lan(plans, shared_dir) as hosts:
        assert hosts["one"].run("uname", "-n") == "one\n"
        assert hosts["one"].run("cat", "/mnt/shared/here") == "yes"
        assert hosts["two"].run("cat", "/mnt/nas/data/here") == "yes"
        assert hosts["two"].run("ls", "/mnt") == "local\nnas\n"
        assert hosts["two"].run("ls", str(shared_dir.parent)) == ""
    assert (shared_dir / "here").read_text() == "yes"


def test_hosts_reach_each_other_unless_one_is_cut_off(shared_dir: Path) -> None:
    reach = ["timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/two/7"]
    with lan([HostPlan("one", Path("/mnt/one")), HostPlan("two", Path("/mnt/two"))], shared_dir) as hosts:
        with pytest.raises(HostsError, match="refused"):  # somebody is there, who says no
            hosts["one"].run(*reach)
        for cut in (hosts.switch.block, hosts.switch.unplug):
            cut(hosts["two"])
            with pytest.raises(HostsError, match="exit code 124|No route"):
                hosts["one"].run(*reach)
            hosts.switch.restore(hosts["two"])
            with pytest.raises(HostsError, match="refused"):
                hosts["one"].run(*reach)


def test_nothing_of_the_hosts_outlives_an_error(shared_dir: Path) -> None:
    before = os.listdir("/sys/class/net"), Path("/proc/self/mounts").read_text(), os.uname().nodename
    with pytest.raises(ZeroDivisionError), lan(PLANS, shared_dir) as hosts:
        asleep = hosts["worker1"].start("sleep", "infinity", log_path=shared_dir.parent / "log")
        raise ZeroDivisionError
    assert asleep.wait(5) != 0
    assert not any(host.is_on for host in hosts.hosts.values())
    after = os.listdir("/sys/class/net"), Path("/proc/self/mounts").read_text(), os.uname().nodename
    assert after == before


@pytest.mark.tensorflow
def test_a_worker_that_was_cut_off_works_again_and_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    data = Data(tmp_path / "hidden" / "shared", images=84, shard_size=2, batch_size=2, pace_s=1.2)
    make_data(data)
    times = Times(worker_s=6, broker_s=0, how="block")
    outcome = rehearse("cut", data, times, Log(), tmp_path, alone_dir=None)  # checks the results
    assert outcome.back_s is not None and outcome.back_s < 15
    assert min(outcome.made[name] for name in WORKERS) > 0
    assert sum(outcome.made.values()) == 42
