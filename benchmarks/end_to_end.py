"""Whole runs against the bare forward pass, in turn, so that the machine's drift cancels."""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pipeline import BATCH_SIZE, link_images, local_run_images_per_s

SHARD_SIZES = (32, 1_024)
RECORDS = 1_280
Figure = dict[str, float]


def measure_end_to_end(
    metadata: Path, model_path: Path, folder: Path, rounds: int, shard_sizes: Sequence[int] = SHARD_SIZES
) -> dict[str, Figure]:
    """Return the best images/s of the rounds, and the ratio to the forward pass, by shard size."""
    many = link_images(metadata, folder / "end_to_end", RECORDS)
    forward: list[float] = []
    whole: dict[int, list[float]] = {size: [] for size in shard_sizes}
    for number in range(rounds):
        forward.append(_forward(model_path, metadata.parent / "images"))
        for size in shard_sizes:
            whole[size].append(local_run_images_per_s(many, model_path, folder / f"run{size}-{number}", size))
        rates = ", ".join(f"shards of {size} {values[-1]:.2f}" for size, values in whole.items())
        print(f"round {number + 1}: forward {forward[-1]:.2f}, {rates} images/s", flush=True)
    return {"forward_whole_set": _figure(forward, forward)} | {
        f"end_to_end_cam_{size}": _figure(values, forward) for size, values in whole.items()
    }


def _forward(model_path: Path, image_dir: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.forward", str(model_path), str(image_dir), str(BATCH_SIZE)]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _figure(values: list[float], forward: list[float]) -> Figure:
    ratios = [value / other for value, other in zip(values, forward, strict=True)]
    return {
        "images_per_s": max(values),
        "spread": (max(values) - min(values)) / max(values),
        "ratio_to_forward": statistics.median(ratios),
        "ratio_of_best": max(values) / max(forward),
    }
