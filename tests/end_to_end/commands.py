"""What end-to-end tests type and wait for."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

Camshard = Callable[..., subprocess.CompletedProcess[str]]


def plan_arguments(metadata: Path, model: Path) -> list[object]:
    """Return what must be typed for a run."""
    return ["--metadata", metadata, "--images", metadata.parent / "images", "--model", model]


def wait_until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    """Wait on a condition, and fail if it never comes."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
