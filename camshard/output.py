"""Files that the user gets: where they go, what they are called, and how they appear whole."""

import hashlib
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shared.publish import fsync_path

_UNSAFE = re.compile(r"[^\w.+=@-]|^\.|\.$", re.ASCII)
_LONGEST = 100  # characters; file systems take 255 bytes, and an ending comes after it
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@contextmanager
def replacing(path: Path, durably: bool = True) -> Iterator[Path]:
    """Give a path to write to; what was written there replaces `path` in one step, unless an error came.

    Args:
        durably: wait until it is on the disk.

    Raises:
        OSError: as the file system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new_path = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield new_path
        if durably:
            fsync_path(new_path)
        os.replace(new_path, path)
    except BaseException:
        new_path.unlink(missing_ok=True)
        raise


def file_stems(image_ids: Sequence[str]) -> list[str]:
    """Return a file name, without ending, for each image id: the id where it can be one.

    Other ids, and ids that differ in case alone, get `_` for what no file name takes and a hash of the id.
    """
    same = Counter(image_id.casefold() for image_id in image_ids)
    return [_file_stem(one) if same[one.casefold()] == 1 else _with_hash(one) for one in image_ids]


def _file_stem(image_id: str) -> str:
    unfit = not image_id or len(image_id) > _LONGEST or _WINDOWS_DEVICES.fullmatch(image_id)
    return _with_hash(image_id) if unfit or _UNSAFE.search(image_id) else image_id


def _with_hash(image_id: str) -> str:
    digest = hashlib.sha256(image_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_UNSAFE.sub('_', image_id)[:_LONGEST]}-{digest}"
