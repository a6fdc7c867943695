"""The run directory of a plan: write it, or find it there and go on."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import RunError
from shared.model_spec import spec_to_dict, write_spec
from shared.request import request_to_dict
from shared.run import Records, Run, read_run, records_to_table, run_to_dict, write_atomically

if TYPE_CHECKING:
    from producer.plan import Plan


def write_run_dir(plan: "Plan") -> Run:
    """Write a planned run into its directory, or find it there already.

    Where the directory has the same run with other paths (images or model were moved, or images came that
    were missing), the paths of this plan replace them; what is published stays.

    Returns:
        The run as the directory has it now.

    Raises:
        RunError: the directory is another run's, or cannot be written.
    """
    run, records = plan.run, plan.records
    try:
        run.dir.mkdir(parents=True, exist_ok=True)
        if (run.dir / "run.json").exists():
            found = read_run(run.dir)
            _refuse_another_run(run, found)
            if _same_paths(run, records, found):
                return found
            run = replace(run, created=found.created)
        manifest = pa.BufferOutputStream()
        pq.write_table(records_to_table(records), manifest, row_group_size=run.shard_size)
        write_atomically(run.manifest_path, manifest.getvalue())
        write_spec(run.dir / "model.toml", run.spec)
        text = json.dumps(run_to_dict(run), indent=1, ensure_ascii=False)
        write_atomically(run.dir / "run.json", text.encode())
        return run
    except OSError as error:
        raise RunError(
            f"{run.dir}: the run directory cannot be written: {error.strerror or error}. "
            "Name another with --out."
        ) from error


def deciding_parts(run: Run) -> dict[str, Any]:
    """Return what of a run, besides its records, decides the results; JSON-serialisable."""
    return {
        "model": run.inspection.model_sha256,
        "spec": spec_to_dict(run.spec),
        "request": request_to_dict(run.request),
        "shard_size": run.shard_size,
        "max_pixels": run.images.max_pixels,
    }


def _refuse_another_run(planned: Run, found: Run) -> None:
    if planned.run_id == found.run_id:
        return
    there, here = _flatten(deciding_parts(found)), _flatten(deciding_parts(planned))
    differing = [
        f"{name}: {there.get(name)!r} there, {here.get(name)!r} now"
        for name in sorted(there | here)
        if there.get(name) != here.get(name)
    ]
    if found.num_records != planned.num_records:
        differing.append(f"records: {found.num_records} there, {planned.num_records} now")
    raise RunError(
        f"{found.dir}: holds run {found.run_id}, and this command means run {planned.run_id}. "
        f"What differs: {'; '.join(differing) or 'the records or their metadata'}. "
        "Name another directory with --out."
    )


def _flatten(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat.update(
            _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def _same_paths(planned: Run, records: Records, found: Run) -> bool:
    same = (planned.model_path, planned.images) == (found.model_path, found.images)
    return same and records.image_paths == found.records().image_paths
