"""The same run over disk and over an S3 server on loopback, with a model so small that reading bounds it."""

import shutil
from pathlib import Path

import pandas as pd

from benchmarks.pipeline import run_images_per_s
from benchmarks.s3_server import serving_s3
from benchmarks.small_net import make_small_net
from camshard.lesions import make_lesion_set

_IMAGES = 300
Figures = dict[str, float]


def measure_remote(folder: Path, rounds: int) -> dict[str, Figures]:
    """Return the best images/s over disk and over S3: nothing kept, keeping copies, and with copies at hand.

    Raises:
        AssertionError: two of the runs have different tables.
    """
    metadata = make_lesion_set(folder / "buckets" / "data", count=_IMAGES)
    model_path = make_small_net(folder / "buckets" / "data" / "small.keras")
    best: Figures = {}
    with serving_s3(folder / "buckets") as server:
        for number in range(rounds):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for name, places in _ways(metadata.parent, model_path, folder / "cache").items():
                run_dir = folder / f"{name}{number}"
                images_per_s = run_images_per_s(metadata, places, run_dir, server.environment)
                best[name] = max(best.get(name, 0.0), images_per_s)
                _check_table(run_dir, folder / "disk0")
            print(f"round {number + 1}:", ", ".join(f"{one} {best[one]:.0f}" for one in best), flush=True)
    return {"images_per_s_300_images": best}


def _ways(data_dir: Path, model_path: Path, cache_dir: Path) -> dict[str, list[str]]:
    s3 = ["--images", "s3://data/images", "--model", "s3://data/small.keras"]
    keeping = [*s3, "--cache-dir", str(cache_dir)]
    return {
        "disk": ["--images", str(data_dir / "images"), "--model", str(model_path)],
        "s3_no_cache": [*s3, "--cache-size", "0"],
        "s3_cold_cache": keeping,
        "s3_warm_cache": keeping,
    }


def _check_table(run_dir: Path, expected_dir: Path) -> None:
    found, expected = (pd.read_parquet(one / "table.parquet") for one in (run_dir, expected_dir))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-5)
