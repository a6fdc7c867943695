"""Publishing in one step: the first writer wins, with hard links and without."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.publish import publish

Built = tuple[Path, Path]


@pytest.fixture
def built(tmp_path: Path) -> Built:
    """Two files that want the same name."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("first")
    second.write_text("second")
    return first, second


@pytest.fixture
def final_path(tmp_path: Path) -> Path:
    return tmp_path / "shards" / "00000" / "shard-000000000.h5"


@pytest.fixture
def no_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, as exFAT and some network ones."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)


def check_that_the_first_writer_wins(built: Built, final_path: Path) -> None:
    first, second = built
    assert publish(first, final_path) is True
    assert publish(second, final_path) is False
    assert final_path.read_text() == "first"
    assert os.listdir(final_path.parent) == [final_path.name]


def test_the_first_writer_wins(built: Built, final_path: Path) -> None:
    check_that_the_first_writer_wins(built, final_path)


@pytest.mark.usefixtures("no_hard_links")
def test_the_first_writer_wins_without_hard_links(built: Built, final_path: Path) -> None:
    check_that_the_first_writer_wins(built, final_path)


def test_a_published_name_is_forced_to_storage(
    built: Built, final_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("shared.publish.fsync_path", synced.append)
    publish(built[0], final_path)
    assert synced == [final_path.parent, final_path.parent.parent]


def test_a_link_that_was_answered_twice_is_still_ours(built: Built, final_path: Path) -> None:
    assert publish(built[0], final_path) is True
    assert publish(built[0], final_path) is True


def test_other_trouble_is_raised_and_the_name_stays_free(
    built: Built, final_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        publish(built[0], final_path)
    assert os.listdir(final_path.parent) == []


@pytest.mark.usefixtures("no_hard_links")
def test_a_rename_that_fails_gives_the_claim_back(
    built: Built, final_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="Input/output"):
        publish(built[0], final_path)
    assert os.listdir(final_path.parent) == []


@pytest.mark.usefixtures("no_hard_links")
def test_a_stale_claim_is_taken_over(built: Built, final_path: Path) -> None:
    claim_path = final_path.with_name(f".{final_path.name}.claim0")
    claim_path.parent.mkdir(parents=True)
    claim_path.touch()
    os.utime(claim_path, (time.time() - 61, time.time() - 61))
    assert publish(built[0], final_path) is True
    assert os.listdir(final_path.parent) == [final_path.name]


@pytest.mark.usefixtures("no_hard_links")
def test_a_fresh_claim_is_waited_for(built: Built, final_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = built
    claim_path = final_path.with_name(f".{final_path.name}.claim0")
    claim_path.parent.mkdir(parents=True)
    claim_path.touch()

    def holder_finishes(_: float) -> None:
        first.rename(final_path)
        claim_path.unlink()

    monkeypatch.setattr("shared.publish.time.sleep", holder_finishes)
    assert publish(second, final_path) is False
    assert final_path.read_text() == "first"


RACER = """
import errno, os, sys
from pathlib import Path
from shared.publish import publish

if sys.argv[1] == "claim":
    def link(*_):
        raise OSError(errno.EPERM, "no hard links")
    os.link = link
folder, name = Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    built = folder / f"{name}-{number}"
    built.write_text(name)
    print(publish(built, folder / "final" / str(number)))
"""


@pytest.mark.parametrize("way", ["link", "claim"])
def test_of_two_processes_exactly_one_publishes_each_file(tmp_path: Path, way: str) -> None:
    racers = {
        name: subprocess.Popen(
            [sys.executable, "-c", RACER, way, str(tmp_path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    }  # fmt: skip
    for racer in racers.values():
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers.values():
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = {name: racer.communicate(timeout=60)[0].split() for name, racer in racers.items()}
    assert sorted(os.listdir(tmp_path / "final"), key=int) == [str(number) for number in range(200)]
    for number in range(200):
        winner = (tmp_path / "final" / str(number)).read_text()
        assert [name for name in said if said[name][number] == "True"] == [winner]
