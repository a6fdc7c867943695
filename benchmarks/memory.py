"""Memory of the one process that computes, after few and after many shards."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_SHARD_SIZE = 3
_FEW, _MANY = 10, 100  # shards; _MANY fit into the 320 images of the benchmark


@dataclass(frozen=True)
class Look:
    """What the computing process held when so many shards were there.

    Attributes:
        rss_mb: resident at the time.
        peak_mb: the most that was ever resident, by the kernel's own count.
    """

    shards: int
    pid: int
    rss_mb: float
    peak_mb: float


def measure_memory(metadata: Path, model_path: Path, folder: Path) -> dict[str, float]:
    """Return what a worker held after 10 and after 100 shards (or as many as the images make), in MB.

    The peak is mostly that of loading and compiling the model; growth from shard to shard shows in what is
    resident.
    """
    images = sum(1 for _ in (metadata.parent / "images").glob("*.jpg"))
    most = min(_MANY, images // _SHARD_SIZE)
    looks = list(_look_on(_command(metadata, model_path, folder / "memory", most), folder / "memory"))
    figures = {}
    for shards in sorted({min(_FEW, most), most}):
        look = next(one for one in looks if one.shards >= shards)
        if look.pid != looks[-1].pid:
            raise RuntimeError("the worker was replaced in mid-run; its memory cannot be compared")
        figures |= {f"rss_mb_{shards}_shards": look.rss_mb, f"peak_mb_{shards}_shards": look.peak_mb}
    return figures


def _command(metadata: Path, model_path: Path, run_dir: Path, shards: int) -> list[str]:
    return [
        sys.executable, "-P", "-m", "camshard", "run", "--metadata", str(metadata), "--images",
        str(metadata.parent / "images"), "--model", str(model_path), "--shard-size", str(_SHARD_SIZE),
        "--batch-size", str(_SHARD_SIZE), "--limit", str(_SHARD_SIZE * shards), "--gpus", "none",
        "--out", str(run_dir),
    ]  # fmt: skip


def _look_on(command: list[str], run_dir: Path) -> Iterator[Look]:
    """Run the command and yield a look whenever there are more shards."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        seen = 0
        while process.poll() is None:
            shards = sum(1 for _ in run_dir.glob("shards/*/shard-*.h5"))
            if shards > seen:
                seen = shards
                yield _look_at(psutil.Process(process.pid), shards)
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")


def _look_at(parent: psutil.Process, shards: int) -> Look:
    """Look at the largest child, which is the one with the model."""
    computing = max(parent.children(recursive=True), key=lambda child: child.memory_info().rss)
    return Look(shards, computing.pid, computing.memory_info().rss / 1e6, _high_water_mb(computing.pid))


def _high_water_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6  # the kernel's kB are of 1,024 bytes
