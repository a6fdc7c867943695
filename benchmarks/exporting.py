"""How fast overlays are exported."""

import time
from pathlib import Path

from benchmarks.made_up_run import make_run
from camshard.export.request import ExportRequest, Kind
from camshard.export.write import export_run

_OVERLAYS = 1_000


def measure_exporting(images: list[Path], folder: Path) -> dict[str, float]:
    """Return images/s of `camshard export --to png` over images of 600×450 pixels."""
    run = make_run(folder / "exported", _OVERLAYS, shard_size=32, images=images)
    began = time.perf_counter()
    outcome = export_run(run.dir, ExportRequest(Kind.PNG))
    seconds = time.perf_counter() - began
    return {"images": outcome.made, "seconds": seconds, "images_per_s": outcome.made / seconds}
