"""A whole `camshard run` against the bare forward pass, in turn, so that the machine's drift cancels."""

import os
import statistics
import subprocess
import sys
from pathlib import Path

from shared.run import read_run
from shared.shard import read_attributes

BATCH_SIZE = 16
Figure = dict[str, float]


def measure_end_to_end(metadata: Path, model_path: Path, folder: Path, rounds: int) -> dict[str, Figure]:
    """Return the best images/s of the rounds, and the ratio to the forward pass over the same images."""
    forward, whole = [], []
    for number in range(rounds):
        forward.append(_forward(model_path, metadata.parent / "images"))
        whole.append(_whole_run(metadata, model_path, folder / f"run{number}"))
        print(
            f"round {number + 1}: forward {forward[-1]:.2f}, end to end {whole[-1]:.2f} images/s", flush=True
        )
    return {"forward_whole_set": _figure(forward, forward), "end_to_end_cam": _figure(whole, forward)}


def _forward(model_path: Path, image_dir: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.forward", str(model_path), str(image_dir), str(BATCH_SIZE)]
    done = subprocess.run(command, env=_quiet(), capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _whole_run(metadata: Path, model_path: Path, run_dir: Path) -> float:
    """Return images/s from the first computed batch to the last published shard."""
    command = [
        sys.executable, "-P", "-m", "camshard", "run", "--metadata", str(metadata), "--images",
        str(metadata.parent / "images"), "--model", str(model_path), "--methods", "cam",
        "--batch-size", str(BATCH_SIZE), "--gpus", "none", "--out", str(run_dir),
    ]  # fmt: skip
    subprocess.run(command, env=_quiet(), capture_output=True, check=True)
    run = read_run(run_dir)
    shards = [read_attributes(run.shard_path(shard)) for shard in range(run.num_shards)]
    seconds = max(one["finished_at"] for one in shards) - min(one["first_batch_at"] for one in shards)
    return float((run.num_records - BATCH_SIZE) / seconds)


def _figure(values: list[float], forward: list[float]) -> Figure:
    ratios = [value / other for value, other in zip(values, forward, strict=True)]
    return {
        "images_per_s": max(values),
        "spread": (max(values) - min(values)) / max(values),
        "ratio_to_forward": statistics.median(ratios),
        "ratio_of_best": max(values) / max(forward),
    }


def _quiet() -> dict[str, str]:
    return os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
