"""Give a finished file its final name in one step: the first writer wins."""

import errno
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}
_STALE_CLAIM_S = 60.0


def publish(built_path: Path, final_path: Path) -> bool:
    """Move a finished, synced file to its final name unless that is taken; sync the folder.

    A hard link does it. Where there are none, an exclusive claim file guards a rename; a claim
    older than a minute was left by a process that died, and the next claim stands above it.

    Returns:
        Whether this file is the one that was published.

    Raises:
        OSError: as the file system says; the final name is then still free.
    """
    final_path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(built_path, final_path)
    except FileExistsError:
        # NFS may answer "exists" to its own retransmission of a link that was made
        return os.path.samefile(built_path, final_path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _publish_with_claim(built_path, final_path)
    fsync_path(final_path.parent)
    fsync_path(final_path.parent.parent)
    return True


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step: whoever reads it sees the old or the new one, whole.

    Raises:
        OSError: as the file system says.
    """
    with replacing(path, mode) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Give a file to write that then takes the place of another in one step; an error leaves the old one.

    Raises:
        OSError: as the file system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def fsync_path(path: Path) -> None:
    """Force a file's or folder's content to storage."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _publish_with_claim(built_path: Path, final_path: Path) -> bool:
    if not _claim(final_path):
        return False
    try:
        if final_path.exists():
            return False
        os.rename(built_path, final_path)
        fsync_path(final_path.parent)
        return True
    finally:
        for claim_path in final_path.parent.glob(f".{final_path.name}.claim*"):
            claim_path.unlink(missing_ok=True)


def _claim(final_path: Path) -> bool:
    """Hold the highest claim on a name; return False once somebody has published it.

    A stale claim is not removed: two that do so at once could remove each other's new one.
    """
    number = 0
    while not final_path.exists():
        claim_path = final_path.with_name(f".{final_path.name}.claim{number}")
        try:
            os.close(os.open(claim_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            return True
        except FileExistsError:
            number += _is_stale(claim_path)
    return False


def _is_stale(claim_path: Path) -> bool:
    """Tell whether a claim's holder is gone; where it is not, wait a moment."""
    try:
        age_s = time.time() - claim_path.stat().st_mtime
    except FileNotFoundError:
        return False
    if age_s <= _STALE_CLAIM_S:
        time.sleep(0.1)
    return age_s > _STALE_CLAIM_S
