"""Whole runs against what bounds them: decoding where the model costs nothing, else the bare loop."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.scaling import seconds_of
from benchmarks.small_net import SIZE, make_small_net
from shared.images import MAX_PIXELS
from shared.model_spec import InputSpec
from shared.run import read_run
from worker.process import reading_threads
from worker.reader import ImageJob, ImageReader

BATCH_SIZE = 16
_LARGE_BATCH = 64  # where the model costs nothing, calling it would
Figure = dict[str, float]


def link_images(metadata: Path, folder: Path, count: int) -> Path:
    """Make a set of `count` records of hard links to the images of a smaller one; return its CSV."""
    records = pd.read_csv(metadata)
    image_dir = folder / "images"
    image_dir.mkdir(parents=True)
    repeated = pd.concat([records] * -(-count // len(records)), ignore_index=True).head(count)
    sources = repeated["image_id"].tolist()
    repeated["image_id"] = [f"{source}_{number}" for number, source in enumerate(sources)]
    for source, image_id in zip(sources, repeated["image_id"], strict=True):
        os.link(metadata.parent / "images" / f"{source}.jpg", image_dir / f"{image_id}.jpg")
    repeated.to_csv(folder / "metadata.csv", index=False)
    return folder / "metadata.csv"


def measure_reading_bound(
    metadata: Path, folder: Path, rounds: int, shard_size: int = 1024
) -> dict[str, Figure]:
    """Return images/s of decoding and resizing alone, and of a whole run whose model costs nothing."""
    model_path = make_small_net(folder / "small.keras")
    paths = sorted((metadata.parent / "images").glob("*.jpg"))
    alone, whole = [], []
    for number in range(rounds):
        alone.append(_decode(paths))
        whole.append(
            local_run_images_per_s(metadata, model_path, folder / f"small{number}", shard_size, _LARGE_BATCH)
        )
        print(f"round {number + 1}: decoding {alone[-1]:.0f}, whole run {whole[-1]:.0f} images/s", flush=True)
    ratio = max(whole) / max(alone)
    return {
        "decode_alone": {"images_per_s": max(alone)},
        f"whole_run_small_model_{shard_size}": {"images_per_s": max(whole), "of_decoding": ratio},
    }


def local_run_images_per_s(
    metadata: Path, model_path: Path, run_dir: Path, shard_size: int, batch_size: int = BATCH_SIZE
) -> float:
    """Return what `run_images_per_s` does for images beside their CSV, and remove the run."""
    places = ["--images", metadata.parent / "images", "--model", model_path]
    rate = run_images_per_s(metadata, [*places, "--shard-size", shard_size], run_dir, batch_size=batch_size)
    shutil.rmtree(run_dir)
    return rate


def run_images_per_s(
    metadata: Path, arguments: Sequence[object], run_dir: Path, environment: Mapping[str, str] | None = None,
    batch_size: int = BATCH_SIZE,
) -> float:  # fmt: skip
    """Return images/s of `camshard run` with CAM, from the first computed batch to the last shard."""
    command = [
        sys.executable, "-P", "-m", "camshard", "run", "--metadata", metadata, *arguments, "--methods", "cam",
        "--batch-size", batch_size, "--gpus", "none", "--out", run_dir,
    ]  # fmt: skip
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(environment or {})
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    run = read_run(run_dir)
    return (run.num_records - batch_size) / seconds_of(run)


def _decode(paths: list[Path]) -> float:
    """Return images/s of the reading threads alone, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.pipeline", "decode", str(paths[0].parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _decode_here(image_dir: Path) -> float:
    import cv2

    cv2.setNumThreads(1)
    paths: list[Path | None] = sorted(image_dir.glob("*.jpg"))
    ids = [path.stem for path in paths if path]
    job = ImageJob(ids, paths, InputSpec(SIZE, scale="0..1"), MAX_PIXELS, _LARGE_BATCH)
    began = time.perf_counter()
    with ImageReader(reading_threads()).read(job) as batches:
        count = sum(len(batch.failures) for batch in batches)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    if sys.argv[1:2] == ["decode"]:
        print(_decode_here(Path(sys.argv[2])))
    else:
        from camshard.lesions import make_lesion_set

        with tempfile.TemporaryDirectory(prefix="camshard-bench-") as name:
            few = make_lesion_set(Path(name) / "few", count=256)
            many = link_images(few, Path(name) / "many", int(sys.argv[1]))
            print(measure_reading_bound(many, Path(name), int(sys.argv[2])))
