"""Records to shards to make: the run id, and the run directory that holds the plan."""

import hashlib
import json
import os
import platform
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from producer.code import take_code
from producer.image_index import ImageOptions, find_images
from producer.inspection import fetch_inspection
from producer.labels import class_names, read_labels
from producer.metadata import Metadata, MetadataOptions, fetch_metadata, select_rows
from producer.request import resolve_request
from producer.run_directory import deciding_parts, nearest_existing
from producer.spec import read_document, resolve_spec
from shared.errors import SettingsError
from shared.file_cache import FileCache
from shared.inspection import Inspection
from shared.locations import Location, absolute
from shared.model_spec import ModelSpec
from shared.records import METADATA_PREFIX, Records
from shared.request import ExplainRequest
from shared.run import ImageSource, MetadataSource, Run
from shared.settings import Settings
from shared.shard_layout import attribution_size

_PACKAGES = ("camshard", "numpy", "opencv-python-headless", "h5py", "tensorflow", "tensorflow-cpu", "keras")
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Plan:
    """A run to be made, and what there is to say about it beforehand.

    Attributes:
        code: the text of layers.py and adapter.py, where the spec has them.
        notices: sentences for the user.
        class_counts: records a class name, "unknown" among them.
    """

    run: Run
    records: Records
    code: dict[str, str]
    columns: tuple[str, ...]
    class_counts: dict[str, int]
    missing: tuple[str, ...]
    notices: tuple[str, ...]


def result_bytes(run: Run) -> int:
    """Return about the disk space that the shards of a run take, before compression."""
    pixels = sum(int(np.prod(attribution_size(run, layer))) for _, layer in run.request.attributions)
    features = run.inspection.layer(run.inspection.last).shape[2] if run.request.save_features else 0
    row_bytes = 4 * (pixels * run.request.targets.ranks + features) + 8 * len(run.spec.classes) + 100
    return run.num_records * row_bytes + run.num_shards * 50_000


def plan_run(settings: Settings) -> Plan:
    """Check everything that decides a run, and number it. Writes nothing.

    Raises:
        CamshardError: whatever is wrong with the CSV, the images, the model, its spec or the request.
    """
    model_path, csv_path = _required(settings)
    cache = FileCache.from_settings(settings)
    metadata = fetch_metadata(csv_path, MetadataOptions.from_settings(settings), cache)
    labels = class_names(metadata, settings.label_separator, settings.no_label)
    rows = select_rows(metadata, settings.where, settings.ids)
    rows, paths, missing = _find_files(settings, rows, metadata.id_column)
    document, where = read_document(settings)
    inspection = fetch_inspection(model_path, document, settings.trust_model, cache)
    spec, code = take_code(resolve_spec(document, where, model_path, inspection, labels))
    request = resolve_request(settings, spec, inspection)
    records = Records(
        image_ids=rows[metadata.id_column].tolist(),
        image_paths=paths,
        labels=read_labels(metadata, rows, spec, settings.label_separator, settings.no_label),
        metadata=pa.Table.from_pandas(rows.add_prefix(METADATA_PREFIX), preserve_index=False),
    )
    run = _number_run(settings, metadata, records, inspection, spec, request, code)
    return Plan(
        run=run,
        records=records,
        code=code,
        columns=tuple(metadata.frame.columns),
        class_counts=_count_classes(records, spec),
        missing=missing,
        notices=tuple(_notices(settings, run, missing)),
    )


def free_bytes(run_dir: Path) -> int:
    """Return the free disk space where a run directory is, or will be."""
    return shutil.disk_usage(nearest_existing(run_dir)).free


def _find_files(
    settings: Settings, rows: pd.DataFrame, id_column: str
) -> tuple[pd.DataFrame, list[str | None], tuple[str, ...]]:
    """Return the rows that --skip-missing and --limit leave, their images' paths, and the missing ids."""
    dirs = tuple(absolute(one) for one in settings.images)
    options = ImageOptions(dirs, settings.pattern, settings.follow_links)
    paths = find_images(rows[id_column].tolist(), options)
    missing = np.array([path is None for path in paths])
    kept = np.flatnonzero(~missing if settings.skip_missing else np.ones_like(missing))[: settings.limit]
    considered = missing if settings.skip_missing else missing[kept]
    names = tuple(rows[id_column].iloc[np.flatnonzero(considered)])
    if len(kept) == len(rows):
        return rows, paths, names
    return rows.iloc[kept], [paths[row] for row in kept], names


def _required(settings: Settings) -> tuple[Location, Location]:
    for name in ("metadata", "images", "model"):
        if not getattr(settings, name):
            raise SettingsError(f"--{name} is wanted: a run needs --metadata CSV --images DIR --model MODEL.")
    assert settings.model is not None and settings.metadata is not None
    return settings.model, settings.metadata


def _number_run(
    settings: Settings, metadata: Metadata, records: Records, inspection: Inspection, spec: ModelSpec,
    request: ExplainRequest, code: dict[str, str],
) -> Run:  # fmt: skip
    assert settings.model is not None
    shard_size = settings.shard_size or min(max(-(-len(records) // 64), 32), 1024)
    has_groups = settings.group_column in metadata.frame.columns
    run = Run(
        dir=Path(),
        run_id="",
        model_path=absolute(settings.model),
        spec=spec,
        request=request,
        inspection=inspection,
        images=ImageSource(
            tuple(absolute(one) for one in settings.images), settings.max_pixels, settings.follow_links
        ),
        metadata=MetadataSource(
            absolute(metadata.path), metadata.id_column, metadata.label_columns,
            settings.group_column if has_groups else None,
        ),
        num_records=len(records),
        shard_size=shard_size,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        code={name: hashlib.sha256(text.encode()).hexdigest() for name, text in code.items()},
    )  # fmt: skip
    run = replace(run, run_id=_run_id(run, records))
    default_dir = Path("runs") / f"{settings.model.stem}-{metadata.path.stem}-{run.run_id}"
    return replace(run, dir=Path(os.path.abspath(settings.out or default_dir)))


def _run_id(run: Run, records: Records) -> str:
    """Hash what decides the results; neither paths nor versions do."""
    digest = hashlib.sha256()
    digest.update("\n".join(records.image_ids).encode())
    digest.update(records.labels.tobytes())
    frame = records.metadata.to_pandas()
    for start in range(0, len(frame), _ROWS_AT_ONCE):
        rows = frame.iloc[start : start + _ROWS_AT_ONCE]
        digest.update(rows.to_csv(index=False, header=start == 0).encode())
    digest.update(json.dumps(deciding_parts(run), sort_keys=True).encode())
    return digest.hexdigest()[:12]


def _count_classes(records: Records, spec: ModelSpec) -> dict[str, int]:
    if records.labels.ndim == 2:
        counts = {name: int((records.labels[:, index] == 1).sum()) for index, name in enumerate(spec.classes)}
        unknown = int((records.labels < 0).any(axis=1).sum())
    else:
        found = Counter(records.labels.tolist())
        counts = {name: found[index] for index, name in enumerate(spec.classes)}
        unknown = found[-1]
    return counts | ({"unknown": unknown} if unknown else {})


def _notices(settings: Settings, run: Run, missing: tuple[str, ...]) -> list[str]:
    notices = []
    if not settings.methods and "cam" not in run.request.methods:
        notices.append(
            "CAM is left out: it needs global average pooling and one linear layer, at the last layer."
        )
    if missing:
        verb = "are left out" if settings.skip_missing else "become rows with status 1 (missing)"
        names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        notices.append(f"{len(missing)} records have no image file and {verb}: {names}")
    if free_bytes(run.dir) < result_bytes(run):
        notices.append(f"{run.dir} has less free disk space than the results may need.")
    return notices


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {
        name: found for name in _PACKAGES if (found := _version(name)) is not None
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
