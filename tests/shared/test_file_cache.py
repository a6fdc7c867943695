"""Copies of objects: bounded, never stale, never half, shared by processes."""

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_server import S3Server, serving_here

import shared.file_cache
from shared.errors import StorageError
from shared.file_cache import FileCache, local_copy
from shared.locations import Url, parse_location
from shared.object_store import Found, find_object
from shared.settings import Settings

KB = 1_000
Find = Callable[[str], Found]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "bucket").mkdir()
    with serving_here(folder) as found:
        yield found


@pytest.fixture
def find(server: S3Server) -> Find:
    """Put an object of 10 kB into the bucket, all of one letter, and find it."""

    def put(name: str, size: int = 10 * KB) -> Found:
        (server.folder / "bucket" / name).write_bytes(name[:1].encode() * size)
        url = parse_location(f"s3://bucket/{name}")
        assert isinstance(url, Url)
        found = find_object(url)
        assert found is not None
        return found

    return put


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", 100 * KB)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that were read from the store."""
    names: list[str] = []
    real_read, real_download = shared.file_cache.read_object, shared.file_cache.download_object

    def read(found: Found, most_bytes: int) -> bytes:
        names.append(found.url.name)
        return real_read(found, most_bytes)

    def download(found: Found, path: Path) -> None:
        names.append(found.url.name)
        real_download(found, path)

    monkeypatch.setattr(shared.file_cache, "read_object", read)
    monkeypatch.setattr(shared.file_cache, "download_object", download)
    return names


def files(cache: FileCache) -> list[Path]:
    return sorted(path for path in cache.dir.glob("??/*"))


def used(cache: FileCache) -> int:
    return sum(path.stat().st_size for path in files(cache))


def test_an_object_is_read_once(cache: FileCache, find: Find, reads: list[str]) -> None:
    found = find("a.jpg")
    assert cache.read(found, KB * KB) == cache.read(found, KB * KB) == b"a" * 10 * KB
    assert reads == ["a.jpg"]


def test_a_changed_object_is_not_served_stale(cache: FileCache, find: Find, server: S3Server) -> None:
    cache.read(find("a.jpg"), KB * KB)
    (server.folder / "bucket" / "a.jpg").write_bytes(b"A" * 10 * KB)
    again = find_object(Url("s3", "bucket/a.jpg"))
    assert again is not None
    assert cache.read(again, KB * KB) == b"A" * 10 * KB
    with local_copy(again.url, cache) as path:
        assert path is not None and path.read_bytes() == b"A" * 10 * KB


def test_the_least_recently_used_go_first(cache: FileCache, find: Find, reads: list[str]) -> None:
    found = {name: find(name) for name in "abcdefghij"}
    for age, name in enumerate("abcdefghij"):
        cache.read(found[name], KB * KB)
        os.utime(cache._path(found[name]), (age, age))
    cache.read(found["a"], KB * KB)  # used now
    cache.read(find("k"), KB * KB)
    assert used(cache) <= 90 * KB
    assert "".join(sorted(path.name.rpartition("-")[2] for path in files(cache))) == "adefghijk"
    assert reads.count("a") == 1


def test_the_bound_holds_and_the_count_is_right(cache: FileCache, find: Find) -> None:
    for number in range(30):
        cache.read(find(f"{number}.jpg"), KB * KB)
        assert used(cache) <= cache.most_bytes
        assert int((cache.dir / "total").read_text()) == used(cache)
    assert used(cache) >= 0.8 * cache.most_bytes


def test_a_count_that_was_lost_is_made_anew(cache: FileCache, find: Find) -> None:
    for name in "abcdefgh":
        cache.read(find(name), KB * KB)
    for number, text in enumerate(("", "no number", "\0\0")):
        (cache.dir / "total").write_text(text)
        cache.read(find(f"{number}.jpg"), KB * KB)
        assert int((cache.dir / "total").read_text()) == used(cache)


def test_what_is_larger_than_the_cache_is_read_past_it(cache: FileCache, find: Find) -> None:
    found = find("large.keras", 200 * KB)
    assert len(cache.read(found, KB * KB)) == 200 * KB
    with local_copy(found.url, cache) as path:
        assert path is not None and path.stat().st_size == 200 * KB
        assert path.name == "large.keras"
    assert not path.exists()
    assert files(cache) == []


def test_a_file_cut_short_is_not_served(cache: FileCache, find: Find) -> None:
    found = find("a.jpg")
    cache.read(found, KB * KB)
    (file,) = files(cache)
    file.write_bytes(b"a" * KB)
    assert cache.read(found, KB * KB) == b"a" * 10 * KB
    assert file.stat().st_size == 10 * KB
    file.write_bytes(b"")
    with local_copy(found.url, cache) as path:
        assert path == file and path.read_bytes() == b"a" * 10 * KB


def test_a_copy_that_is_held_stays(cache: FileCache, find: Find) -> None:
    with local_copy(find("model.keras").url, cache) as path:
        assert path is not None and path.suffix == ".keras"
        os.utime(path, (0, 0))  # the first to go
        for number in range(20):
            cache.read(find(f"{number}.jpg"), KB * KB)
        assert path.read_bytes() == b"m" * 10 * KB
    for number in range(20):
        cache.read(find(f"{number}.png"), KB * KB)
    assert not path.exists()


def test_a_copy_is_fetched_once_by_many(cache: FileCache, find: Find, reads: list[str]) -> None:
    url = find("model.keras").url
    seen = []

    def hold() -> None:
        with local_copy(url, cache) as path:
            seen.append(path)

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8 and len(set(seen)) == 1
    assert reads == ["model.keras"]


def test_several_processes_keep_one_bound(cache: FileCache, find: Find) -> None:
    """Four at once, each reading everything twice: each answer whole, the sum as it is, the bound kept."""
    names = [f"{letter}{number}.jpg" for letter in "abcdef" for number in range(5)]
    for name in names:
        find(name)
    code = (
        "import sys\nfrom pathlib import Path\nfrom shared.file_cache import FileCache\n"
        "from shared.locations import Url\nfrom shared.object_store import find_object\n"
        f"cache = FileCache(Path(sys.argv[1]), {cache.most_bytes})\n"
        "for name in sys.argv[2:] * 2:\n"
        "    data = cache.read(find_object(Url('s3', f'bucket/{name}')), 1_000_000)\n"
        "    assert data == name[:1].encode() * 10_000, name\n"
    )
    command = [sys.executable, "-c", code, str(cache.dir)]
    processes = [subprocess.Popen(command + names[turn:] + names[:turn]) for turn in (0, 7, 14, 21)]
    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    assert used(cache) <= cache.most_bytes
    assert list((cache.dir / "new").iterdir()) == []


def test_what_a_killed_process_was_writing_goes_after_a_day(cache: FileCache, find: Find) -> None:
    cache.read(find("a.jpg"), KB * KB)
    old, young = cache.dir / "new" / "old", cache.dir / "new" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    for number in range(20):
        cache.read(find(f"{number}.jpg"), KB * KB)
    assert not old.exists() and young.exists()


def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, find: Find, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    cache = FileCache(tmp_path / "file" / "cache", KB * KB)
    assert cache.read(find("a.jpg"), KB * KB) == b"a" * 10 * KB
    assert "the cache cannot be written" in caplog.text
    cache.read(find("b.jpg"), KB * KB)
    assert caplog.text.count("the cache cannot be written") == 1
    with (
        pytest.raises(StorageError, match=r"no copy of it can be kept.*Not a directory.*--cache-dir"),
        local_copy(find("m.keras").url, cache),
    ):
        pass


def test_others_of_this_machine_do_not_see_the_copies(cache: FileCache, find: Find) -> None:
    cache.read(find("a.jpg"), KB * KB)
    assert cache.dir.stat().st_mode & 0o077 == 0


def test_settings_name_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, elsewhere: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert FileCache.from_settings(Settings()) == FileCache(tmp_path / "xdg" / "camshard", 10_000_000_000)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # as good as not set, its standard says
    found = FileCache.from_settings(Settings())
    assert found is not None and found.dir == Path.home() / ".cache" / "camshard"
    named = FileCache.from_settings(Settings(cache_dir=Path("here"), cache_size=0.5))
    assert named == FileCache(elsewhere / "here", 500_000_000)
    assert FileCache.from_settings(Settings(cache_size=0)) is None


def test_without_a_cache_a_copy_lasts_as_long_as_it_is_needed(find: Find) -> None:
    with local_copy(find("model.keras").url, None) as path:
        assert path is not None and path.read_bytes() == b"m" * 10 * KB
    assert not path.exists()
    with local_copy(Url("s3", "bucket/none.keras"), None) as path:
        assert path is None


def test_a_removal_waits_for_no_one(cache: FileCache, find: Find) -> None:
    """A file that another process holds is passed over, not waited for."""
    found = find("a.jpg")
    cache.read(found, KB * KB)
    with cache._path(found).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not shared.file_cache._remove_unless_held(str(cache._path(found)))
    assert shared.file_cache._remove_unless_held(str(cache._path(found)))
