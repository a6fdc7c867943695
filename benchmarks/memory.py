"""Peak memory of the process that computes, over few and many shards of one size."""

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil

_SHARD_SIZE = 3  # 100 shards out of the 320 images of the benchmark


def measure_memory(metadata: Path, model_path: Path, folder: Path) -> dict[str, float]:
    """Return the peak resident memory, in MB, of a worker that made 10 shards and of one that made 100."""
    return {
        f"peak_mb_{shards}_shards": _peak_mb(metadata, model_path, folder / f"memory{shards}", shards)
        for shards in (10, 100)
    }


def _peak_mb(metadata: Path, model_path: Path, run_dir: Path, shards: int) -> float:
    command = [
        sys.executable, "-P", "-m", "camshard", "run", "--metadata", str(metadata), "--images",
        str(metadata.parent / "images"), "--model", str(model_path), "--shard-size", str(_SHARD_SIZE),
        "--batch-size", str(_SHARD_SIZE), "--limit", str(_SHARD_SIZE * shards), "--gpus", "none",
        "--out", str(run_dir),
    ]  # fmt: skip
    peak = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max([peak, *map(_high_water_mb, psutil.Process(process.pid).children(recursive=True))])
            time.sleep(0.2)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return peak


def _high_water_mb(process: psutil.Process) -> float:
    """Return the kernel's own high-water mark, so that no peak falls between two looks."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1000 if found else 0.0
