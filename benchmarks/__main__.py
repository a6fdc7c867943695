"""`make bench`: print one table and write benchmarks/results/latest.json."""

import json
import os
import tempfile
from pathlib import Path

from benchmarks.end_to_end import measure_end_to_end
from benchmarks.memory import measure_memory
from benchmarks.resnet import make_resnet50
from camshard.lesions import make_lesion_set

RESULTS_PATH = Path(__file__).parent / "results" / "latest.json"
_ROUNDS = int(os.environ.get("CAMSHARD_BENCH_ROUNDS", "3"))
_IMAGES = int(os.environ.get("CAMSHARD_BENCH_IMAGES", "320"))


def main() -> None:
    """Measure everything there is."""
    with tempfile.TemporaryDirectory(prefix="camshard-bench-") as folder:
        metadata = make_lesion_set(Path(folder), count=_IMAGES)
        images = sorted((Path(folder) / "images").glob("*.jpg"))
        model_path = Path(folder) / "resnet50.keras"
        make_resnet50(model_path, images[:48])
        figures = measure_end_to_end(metadata, model_path, Path(folder), _ROUNDS)
        memory = measure_memory(metadata, model_path, Path(folder))
    RESULTS_PATH.parent.mkdir(exist_ok=True)
    RESULTS_PATH.write_text(json.dumps({**figures, "worker_memory": memory}, indent=1) + "\n")
    print(f"\n{'name':<20} {'images/s':>9} {'spread':>7} {'ratio to forward':>17}")
    for name, figure in figures.items():
        print(
            f"{name:<20} {figure['images_per_s']:>9.2f} {figure['spread']:>7.1%} "
            f"{figure['ratio_to_forward']:>17.3f}"
        )
    for name, peak_mb in memory.items():
        print(f"worker_memory {name}: {peak_mb:.0f}")
    print(f"wrote {RESULTS_PATH}")


if __name__ == "__main__":
    main()
