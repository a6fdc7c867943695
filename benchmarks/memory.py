"""Memory of the one process that computes, early and late in a run."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.small_net import make_small_net


@dataclass(frozen=True)
class Case:
    """A run whose memory is looked at twice.

    Attributes:
        shard_size: a multiple of the batch size.
        few, many: after how many shards; the run ends with the second.
    """

    metadata: Path
    image_dir: Path
    model_path: Path
    run_dir: Path
    batch_size: int
    shard_size: int
    few: int
    many: int


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
    """Return what a worker with a large model held after 10 and after 100 batches of 3 images, in MB.

    The peak is mostly that of loading and compiling the model; growth from shard to shard shows in what is
    resident.
    """
    image_dir = metadata.parent / "images"
    most = min(100, sum(1 for _ in image_dir.glob("*.jpg")) // 3)
    few = min(10, most)
    return _measure(Case(metadata, image_dir, model_path, folder / "memory", 3, 3, few, most))


def measure_memory_of_small_model(image_paths: list[Path], folder: Path) -> dict[str, float]:
    """Return what a worker with a small model held after 200 and after 2,000 batches of 4 images, in MB.

    8,000 records name some few images, through links with names of their own.
    """
    folder.mkdir()
    model_path, image_dir = make_small_net(folder / "small.keras"), folder / "images"
    metadata = _write_records(folder / "metadata.csv", image_dir, image_paths, count=8_000)
    return _measure(Case(metadata, image_dir, model_path, folder / "run", 4, 32, few=25, many=250))


def _write_records(csv_path: Path, image_dir: Path, image_paths: list[Path], count: int) -> Path:
    image_dir.mkdir()
    ids = [f"image{number:05d}" for number in range(count)]
    for number, image_id in enumerate(ids):
        os.link(image_paths[number % len(image_paths)], image_dir / f"{image_id}.jpg")
    csv_path.write_text("\n".join(["image_id", *ids]) + "\n")
    return csv_path


def _measure(case: Case) -> dict[str, float]:
    looks = list(_look_on(_command(case), case.run_dir))
    figures = {}
    for shards in sorted({case.few, case.many}):
        look = next(one for one in looks if one.shards >= shards)
        if look.pid != looks[-1].pid:
            raise RuntimeError("the worker was replaced in mid-run; its memory cannot be compared")
        batches = shards * case.shard_size // case.batch_size
        figures |= {f"rss_mb_{batches}_batches": look.rss_mb, f"peak_mb_{batches}_batches": look.peak_mb}
    return figures


def _command(case: Case) -> list[str]:
    return [
        sys.executable, "-P", "-m", "camshard", "run", "--metadata", str(case.metadata), "--images",
        str(case.image_dir), "--model", str(case.model_path), "--shard-size", str(case.shard_size),
        "--batch-size", str(case.batch_size), "--limit", str(case.shard_size * case.many), "--gpus", "none",
        "--out", str(case.run_dir),
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
