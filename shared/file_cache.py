"""Copies of objects on this machine: bounded, the least recently used go first, shared by all processes."""

import fcntl
import functools
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from shared.errors import StorageError
from shared.locations import Location
from shared.object_store import Found, download_object, find_object, read_object

if TYPE_CHECKING:
    from shared.settings import Settings

log = logging.getLogger(__name__)
_KEPT = 0.9  # of the bound, after files were removed
MOST_TEXT_BYTES = 10_000_000
_ABANDONED_S = 24 * 3600.0  # a file that was being written so long ago


@dataclass(frozen=True)
class FileCache:
    """A folder of files, named by what they are copies of, for their owner alone.

    A file appears whole, in one step, and never changes. Its time of change is when it was last used. `total`
    holds the sum of the sizes, for whoever holds the lock on it.
    """

    dir: Path
    most_bytes: int

    @classmethod
    def from_settings(cls, settings: "Settings") -> Self | None:
        """Return the cache that is asked for; None for --cache-size 0."""
        most_bytes = int(settings.cache_size * 1e9)
        return cls((settings.cache_dir or _default_dir()).absolute(), most_bytes) if most_bytes else None

    def read(self, found: Found, most_bytes: int) -> bytes:
        """Read an object, from its copy if there is one; keep a copy if there is not.

        Raises:
            StorageError: the object cannot be read. A cache that cannot be written is done without.
        """
        path = self._path(found)
        with suppress(OSError):
            data = path.read_bytes()
            if len(data) == found.size:
                os.utime(path)
                return data
        data = read_object(found, most_bytes)
        if self.takes(found) and len(data) == found.size:
            self._keep(path, data)
        return data

    @contextmanager
    def holding(self, found: Found) -> Iterator[Path]:
        """Give the path of an object's copy, which stays while the block lasts; it is fetched once a machine.

        Raises:
            StorageError: the object cannot be read, or the copy not be written.
        """
        path = self._path(found)
        held = self._hold(path, found)
        while held is None or not _is_at(held, path):  # it was removed before it was held
            if held is not None:
                held.close()
            held = self._hold(path, found)
        with held:
            yield path

    def takes(self, found: Found) -> bool:
        """Tell whether an object can be kept: where nothing tells its versions apart, it cannot."""
        return bool(found.version) and found.size is not None and found.size <= self.most_bytes

    def _hold(self, path: Path, found: Found) -> BinaryIO | None:
        with self._lock(f"fetch-{path.name[:2]}"):
            if not _touch(path, found.size):
                with self._new_file() as new_path:
                    download_object(found, new_path)
                    self._publish(new_path, path)
            try:
                held = path.open("rb")
            except FileNotFoundError:
                return None
        fcntl.flock(held, fcntl.LOCK_SH)
        return held

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            with self._new_file() as new_path:
                new_path.write_bytes(data)
                self._publish(new_path, path)
        except OSError as error:
            _warn_once(f"{self.dir}: the cache cannot be written: {error.strerror}")

    def _publish(self, new_path: Path, path: Path) -> None:
        self._make_room(new_path.stat().st_size)
        path.parent.mkdir(exist_ok=True)
        os.replace(new_path, path)

    def _path(self, found: Found) -> Path:
        """Return where a copy lies; its name ends as the object's, which tells what kind of file it is."""
        name = re.sub(r"[^\w.-]", "_", found.url.name)[-80:]
        return self.dir / found.key[:2] / f"{found.key[:40]}-{name}"

    def _make_room(self, new_bytes: int) -> None:
        """Count a file that is to come; remove others where the bound would be passed."""
        with self._lock("total") as file:
            text = file.read(32)
            total = int(text) if text.strip().isdigit() else self._used_bytes()
            if total + new_bytes > self.most_bytes:
                total = self._remove_oldest(max(0, int(self.most_bytes * _KEPT) - new_bytes))
            file.seek(0)
            file.truncate()
            file.write(str(total + new_bytes).encode())
            file.flush()

    def _used_bytes(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _remove_oldest(self, most_bytes: int) -> int:
        """Remove files, the least recently used first, until no more than so many bytes are left."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= most_bytes:
                break
            if _remove_unless_held(path):
                total -= size
        self._remove_abandoned()
        return total

    def _remove_abandoned(self) -> None:
        for path in (self.dir / "new").iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """Yield when each file was last used, its size and its path."""
        for folder in self.dir.glob("[0-9a-f][0-9a-f]"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):
                        found = entry.stat()
                        yield found.st_mtime, found.st_size, entry.path

    @contextmanager
    def _new_file(self) -> Iterator[Path]:
        folder = self.dir / "new"
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextmanager
    def _lock(self, name: str) -> Iterator[BinaryIO]:
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.dir / name, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            yield file


@contextmanager
def local_copy(place: Location, cache: FileCache | None) -> Iterator[Path | None]:
    """Give the path of a file that stays while the block lasts; None where a URL names none.

    A path gives itself. What a URL names is copied into the cache, or, without one, for that time.

    Raises:
        StorageError: the store cannot be reached, or the copy not be written.
    """
    if isinstance(place, Path):
        yield place
        return
    found = find_object(place)
    if found is None or not found.is_file:
        yield None
        return
    holding = cache.holding(found) if cache and cache.takes(found) else _holding_for_now(found)
    with ExitStack() as stack:
        try:
            path = stack.enter_context(holding)
        except OSError as error:
            folder = cache.dir if cache else tempfile.gettempdir()
            raise StorageError(
                f"{place}: no copy of it can be kept in {folder}: {error.strerror}. Name another folder with "
                "--cache-dir."
            ) from error
        yield path


def read_text(place: Location) -> str | None:
    """Read a small text file; None where there is none, or where a signed URL opens another object alone.

    Raises:
        StorageError: the store cannot be reached, or does not allow it.
        OSError, UnicodeDecodeError: of a file of this machine; it is no UTF-8.
    """
    if isinstance(place, Path):
        return place.read_text(encoding="utf-8") if place.exists() else None
    found = None if place.query else find_object(place)
    return read_object(found, MOST_TEXT_BYTES).decode() if found else None


@contextmanager
def _holding_for_now(found: Found) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="camshard-") as folder:
        path = Path(folder) / found.url.name
        download_object(found, path)
        yield path


@functools.cache
def _warn_once(text: str) -> None:
    log.warning(text)


def _default_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else Path.home() / ".cache") / "camshard"


def _touch(path: Path, size: int | None) -> bool:
    """Note that a file is used; False where it is not there, or not whole."""
    try:
        os.utime(path)
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_unless_held(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True
