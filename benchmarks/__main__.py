"""`make bench`: print one table and write benchmarks/results/latest.json."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.end_to_end import measure_end_to_end
from benchmarks.exporting import measure_exporting
from benchmarks.memory import measure_memory, measure_memory_of_small_model
from benchmarks.pipeline import link_images, measure_reading_bound
from benchmarks.reading import measure_reading
from benchmarks.remote import measure_remote
from benchmarks.resnet import make_resnet50
from benchmarks.scale import measure_scale
from benchmarks.scaling import measure_scaling
from camshard.lesions import make_lesion_set

RESULTS_PATH = Path(__file__).parent / "results" / "latest.json"
_ROUNDS = int(os.environ.get("CAMSHARD_BENCH_ROUNDS", "3"))
_EXPLAIN_ROUNDS = int(os.environ.get("CAMSHARD_BENCH_EXPLAIN_ROUNDS", "12"))
_RECORDS = int(os.environ.get("CAMSHARD_BENCH_RECORDS", "1000000"))
_IMAGES = int(os.environ.get("CAMSHARD_BENCH_IMAGES", "320"))


def main() -> None:
    """Measure everything there is."""
    with tempfile.TemporaryDirectory(prefix="camshard-bench-") as folder:
        metadata = make_lesion_set(Path(folder), count=_IMAGES)
        images = sorted((Path(folder) / "images").glob("*.jpg"))
        model_path = Path(folder) / "resnet50.keras"
        make_resnet50(model_path, images[:48])
        figures = _measure_explaining(model_path, Path(folder) / "images")
        figures |= measure_end_to_end(metadata, model_path, Path(folder), _ROUNDS)
        memory = {
            "worker_memory": measure_memory(metadata, model_path, Path(folder)),
            "worker_memory_small_model": measure_memory_of_small_model(images[:8], Path(folder) / "small"),
        }
        reading = measure_reading(Path(folder) / "reading", _RECORDS)
        scale = measure_scale(Path(folder) / "scale", _RECORDS)
        many = link_images(metadata, Path(folder) / "many", 4_096)
        bounds = measure_reading_bound(many, Path(folder), _ROUNDS)
        bounds |= measure_scaling(Path(folder) / "scaling")
        exporting = {"export_overlays": measure_exporting(images, Path(folder))}
        remote = measure_remote(Path(folder) / "remote", _ROUNDS)
    RESULTS_PATH.parent.mkdir(exist_ok=True)
    RESULTS_PATH.write_text(
        json.dumps(figures | memory | reading | scale | bounds | exporting | remote, indent=1) + "\n"
    )
    print(f"\n{'name':<20} {'images/s':>9} {'spread':>7} {'ratio to forward':>17}")
    for name, figure in figures.items():
        print(
            f"{name:<20} {figure['images_per_s']:>9.2f} {figure['spread']:>7.1%} "
            f"{figure['ratio_to_forward']:>17.3f}"
        )
    for name, held in memory.items():
        print(f"{name}:", ", ".join(f"{when} {megabytes:.0f}" for when, megabytes in held.items()))
    for name, answer in (reading | scale | bounds | exporting | remote).items():
        print(f"{name}:", ", ".join(f"{what} {value:.4g}" for what, value in answer.items()))
    print(f"wrote {RESULTS_PATH}")


def _measure_explaining(model_path: Path, image_dir: Path) -> dict[str, dict[str, float]]:
    """Return the best images/s of each way of explaining, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.explain",
        str(model_path),
        str(image_dir),
        str(_EXPLAIN_ROUNDS),
    ]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        name: {
            "images_per_s": max(values),
            "spread": (max(values) - min(values)) / max(values),
            "ratio_to_forward": max(values) / max(found["forward"]),
        }
        for name, values in found.items()
    }


if __name__ == "__main__":
    main()
