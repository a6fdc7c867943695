"""Opening and reading large runs: python -m benchmarks.reading QUESTION RUN prints one JSON object."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.made_up_run import make_run

_HAM10000 = 10_015
_LOOKS = 200


def measure_reading(folder: Path, most_records: int) -> dict[str, dict[str, float]]:
    """Return seconds and peak memory of each question, each asked in a process of its own."""
    found = {}
    small = make_run(folder / "ham", _HAM10000, shard_size=156, ranks=7).dir
    questions = ["write_table", "table", "one_attribution", "dataset", "open_mfdataset"]
    found |= {f"{one}_{_HAM10000}": _ask(one, small) for one in questions}
    large = make_run(folder / "large", most_records, shard_size=max(1, most_records // 1000)).dir
    questions = ["write_table", "table", "one_attribution", "stream", "dataset_all"]
    return found | {f"{one}_{most_records}": _ask(one, large) for one in questions}


def _ask(question: str, run_dir: Path) -> dict[str, float]:
    """Ask with at most 256 open files, the limit of many systems."""
    command = [
        "sh", "-c", 'ulimit -n 256; exec "$@"', "sh", sys.executable, "-m", "benchmarks.reading", question,
        str(run_dir),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(question, run_dir.name, answer, flush=True)
    return answer


def _answer(question: str, run_dir: Path) -> dict[str, float]:
    figures = {"import_s": _timed(lambda: __import__("camshard.results"))[1]}
    figures |= _QUESTIONS[question](run_dir)
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return figures


def _write_table(run_dir: Path) -> dict[str, float]:
    from shared.finish import finish_run
    from shared.run import read_run

    return {"seconds": _timed(lambda: finish_run(read_run(run_dir)))[1]}


def _table(run_dir: Path) -> dict[str, float]:
    from camshard.results import open_run

    results, open_s = _timed(lambda: open_run(run_dir))
    table, table_s = _timed(lambda: results.table)
    return {"open_s": open_s, "seconds": table_s, "rows": len(table)}


def _one_attribution(run_dir: Path) -> dict[str, float]:
    from camshard.results import open_run

    results, open_s = _timed(lambda: open_run(run_dir))
    image_ids, ids_s = _timed(lambda: results.image_ids)
    chosen = np.random.default_rng(0).integers(0, len(image_ids), _LOOKS)
    seconds = []
    for index in chosen:
        attribution, one_s = _timed(lambda: results.attribution(image_ids[index], rank=0))  # noqa: B023
        assert (attribution == index).all()
        seconds.append(one_s)
    return {"open_s": open_s, "ids_s": ids_s, "first_s": seconds[0], "median_s": float(np.median(seconds))}


def _stream(run_dir: Path) -> dict[str, float]:
    """Read every attribution through batches(), and check each."""
    from camshard.results import open_run

    def read() -> int:
        right = 0
        for ids, attributions in open_run(run_dir).batches():
            wanted = np.array([int(one[-7:]) for one in ids], np.float32)
            right += int((attributions == wanted[:, None, None]).all(axis=(1, 2)).sum())
        return right

    right, seconds = _timed(read)
    return {"seconds": seconds, "right_rows": right}


def _dataset(run_dir: Path) -> dict[str, float]:
    from camshard.results import open_run

    dataset, seconds = _timed(lambda: open_run(run_dir).dataset())
    return {"seconds": seconds, "rows": dataset.sizes["image_id"]}


def _dataset_all(run_dir: Path) -> dict[str, float]:
    """Compute every attribution through dataset(), and check each."""
    from camshard.results import open_run

    dataset, open_s = _timed(lambda: open_run(run_dir).dataset())
    cam = dataset["cam__conv5_block3_out"][:, 0].mean(axis=(1, 2))
    found, seconds = _timed(lambda: cam.values)
    wanted = np.arange(len(found), dtype=np.float32)
    return {
        "open_s": open_s,
        "seconds": seconds,
        "right_rows": int(np.isclose(found, wanted, rtol=1e-6).sum()),
    }


def _open_mfdataset(run_dir: Path) -> dict[str, float]:
    import xarray

    paths = sorted(run_dir.glob("shards/*/shard-*.h5"))
    dataset, seconds = _timed(
        lambda: xarray.open_mfdataset(
            paths, engine="h5netcdf", combine="nested", concat_dim="image_id", data_vars="minimal",
            coords="minimal", compat="override",
        )
    )  # fmt: skip
    return {"seconds": seconds, "rows": dataset.sizes["image_id"]}


_QUESTIONS = {
    "write_table": _write_table, "table": _table, "one_attribution": _one_attribution, "stream": _stream,
    "dataset": _dataset, "dataset_all": _dataset_all, "open_mfdataset": _open_mfdataset,
}  # fmt: skip


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(_answer(sys.argv[1], Path(sys.argv[2]))))
