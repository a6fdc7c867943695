"""The run directory of a plan: write it, or find it there and go on."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import RunError
from shared.manifest import reading_manifest, write_manifest
from shared.model_spec import spec_to_dict, write_spec
from shared.publish import write_atomically
from shared.records import Records
from shared.request import request_to_dict
from shared.run import Run, read_run, run_to_dict
from shared.shard import read_attributes

if TYPE_CHECKING:
    from producer.plan import Plan

_ROWS_AT_ONCE = 65_536


def write_run_dir(plan: "Plan") -> Run:
    """Write a planned run into its directory, or find it there already.

    Where the directory has the same run with other paths (images or model were moved, or images came that
    were missing) or a damaged manifest, what this plan holds replaces it; what is published stays.

    Returns:
        The run as the directory has it now.

    Raises:
        RunError: the directory is another run's, or cannot be written.
    """
    run, records = plan.run, plan.records
    with _writing(run.dir):
        run.dir.mkdir(parents=True, exist_ok=True)
        found = _find_run(run)
        if found and _same_paths(run, records, found):
            return found
        run = replace(run, created=found.created) if found else run
        write_manifest(run.manifest_path, records, run.shard_size)
        write_spec(run.dir / "model.toml", run.spec)
        for name, text in plan.code.items():
            write_atomically(run.dir / name, text.encode())
        text = json.dumps(run_to_dict(run), indent=1, ensure_ascii=False)
        write_atomically(run.dir / "run.json", text.encode())
        return run


def check_run_dir(run: Run) -> None:
    """Refuse the directory of a planned run as `write_run_dir` would; leaves nothing there.

    Raises:
        RunError: the directory is another run's, or cannot be written.
    """
    with _writing(run.dir):
        _find_run(run)
        with tempfile.TemporaryFile(dir=nearest_existing(run.dir)):
            pass


def nearest_existing(path: Path) -> Path:
    """Return the path itself if it exists, else the nearest folder above it that does.

    What may not be looked at, or has too long a name, counts as not there.
    """
    path = path.absolute()
    return next(one for one in (path, *path.parents) if os.path.exists(one))


def deciding_parts(run: Run) -> dict[str, Any]:
    """Return what of a run, besides its records, decides the results; JSON-serialisable."""
    return {
        "model": run.inspection.model_sha256,
        "spec": spec_to_dict(run.spec),
        "request": request_to_dict(run.request),
        "shard_size": run.shard_size,
        "max_pixels": run.images.max_pixels,
        "code": run.code,
    }


@contextmanager
def _writing(run_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{run_dir}: the run directory cannot be written: {error.strerror or error}. "
            "Name another with --out."
        ) from error


def _find_run(planned: Run) -> Run | None:
    """Return the same run as the directory has it, or None where there is none.

    Raises:
        RunError: the directory is another run's.
    """
    if (planned.dir / "run.json").exists():
        found = read_run(planned.dir)
        if found.run_id != planned.run_id:
            raise _another_run(planned, found.run_id, _differences(planned, found))
        return found
    published = planned.published_shards()  # of a run whose run.json was moved away
    if published:
        run_id = read_attributes(planned.shard_path(min(published)))["run_id"]
        if run_id != planned.run_id:
            raise _another_run(planned, run_id, ["run.json, which would tell more, is not there"])
    return None


def _another_run(planned: Run, run_id: str, differing: list[str]) -> RunError:
    return RunError(
        f"{planned.dir}: holds run {run_id}, and this command means run {planned.run_id}. "
        f"What differs: {'; '.join(differing)}. Name another directory with --out."
    )


def _differences(planned: Run, found: Run) -> list[str]:
    there, here = _flatten(deciding_parts(found)), _flatten(deciding_parts(planned))
    differing = [
        f"{name}: {there.get(name)!r} there, {here.get(name)!r} now"
        for name in sorted(there | here)
        if there.get(name) != here.get(name)
    ]
    if found.num_records != planned.num_records:
        differing.append(f"records: {found.num_records} there, {planned.num_records} now")
    return differing or ["the records or their metadata"]


def _flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat.update(
            _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _same_paths(planned: Run, records: Records, found: Run) -> bool:
    """Compare paths; a manifest that cannot be read has none."""
    if (planned.model_path, planned.images) != (found.model_path, found.images):
        return False
    try:
        with reading_manifest(found.manifest_path) as manifest:
            return all(
                manifest.read(rows)["image_path"].to_pylist() == records.image_paths[rows.start : rows.stop]
                for rows in _in_parts(found.num_records)
            )
    except RunError:
        return False


def _in_parts(num_records: int) -> Iterator[range]:
    for start in range(0, num_records, _ROWS_AT_ONCE):
        yield range(start, min(start + _ROWS_AT_ONCE, num_records))
