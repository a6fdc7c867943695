"""A run directory: run.json, the manifest, and where everything in it lies."""

import json
import os
import re
import socket
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import RunError, StorageError
from shared.inspection import Inspection, inspection_from_dict, inspection_to_dict
from shared.locations import Location, location_text, parse_location
from shared.manifest import reading_manifest
from shared.model_source import ModelSource, model_source
from shared.model_spec import ModelSpec, spec_from_dict, spec_to_dict
from shared.records import Records, labels_from_table, records_from_table
from shared.request import ExplainRequest, request_from_dict, request_to_dict

SCHEMA = 1
_SHARD_NAME = re.compile(r"shard-(\d{9})(?:\.r([1-9]\d*))?\.h5")
SHARDS_PER_FOLDER = 1_000
LAYERS_FILE, ADAPTER_FILE = "layers.py", "adapter.py"


@dataclass(frozen=True)
class ImageSource:
    """Where the images of a run lie, and what is accepted as one."""

    dirs: tuple[Location, ...]
    max_pixels: int
    follow_links: bool = False


@dataclass(frozen=True)
class MetadataSource:
    """The CSV a run was planned from, and the columns that meant something."""

    path: Location
    id_column: str
    label_columns: tuple[str, ...] = ()
    group_column: str | None = None


@dataclass(frozen=True)
class Run:
    """One model, one explanation request and one list of records, and the directory of their results."""

    dir: Path
    run_id: str
    model_path: Location
    spec: ModelSpec
    request: ExplainRequest
    inspection: Inspection
    images: ImageSource
    metadata: MetadataSource
    num_records: int
    shard_size: int
    created: str
    versions: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)  # SHA-256 of layers.py and adapter.py

    @property
    def num_shards(self) -> int:
        """How many shards the records make."""
        return -(-self.num_records // self.shard_size)

    @property
    def manifest_path(self) -> Path:
        """Every record, in order, in row groups of whole shards."""
        return self.dir / "manifest.parquet"

    @property
    def table_path(self) -> Path:
        """When complete: a row a record, all but the attributions."""
        return self.dir / "table.parquet"

    @property
    def index_path(self) -> Path:
        """When complete and of at most 200 files: the run as one HDF5 file."""
        return self.dir / "index.h5"

    @property
    def building_dir(self) -> Path:
        """Where shards, table and index are built before they are published."""
        return self.dir / "state" / "building"

    def new_building_path(self, name: str) -> Path:
        """Return a path of this process's own for what will be published as `name`."""
        token = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        return self.building_dir / f"{Path(name).stem}.{token}{Path(name).suffix}"

    @property
    def heartbeats_dir(self) -> Path:
        """One small JSON file a worker: when it was last seen, and what it did."""
        return self.dir / "state" / "heartbeats"

    @property
    def attempts_dir(self) -> Path:
        """One small JSON file a shard whose task failed: how often, and why."""
        return self.dir / "state" / "attempts"

    def model_source(self, model_path: Path) -> ModelSource:
        """Return how the model file, which lies at `model_path` here, becomes the run's model."""
        source = model_source(model_path, spec_to_dict(self.spec))
        return replace(source, custom_layers=self.dir / LAYERS_FILE if source.custom_layers else None)

    def shard_path(self, shard: int, revision: int = 0) -> Path:
        """Return where a shard is published."""
        suffix = f".r{revision}" if revision else ""
        return self.dir / "shards" / shard_folder(shard) / f"shard-{shard:09d}{suffix}.h5"

    def shard_rows(self, shard: int) -> range:
        """Return the records of a shard, counted from 0 over the run."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.num_records))

    def published_shards(self) -> set[int]:
        """Return the numbers of the shards that are there, from the folders' listings alone."""
        found = set().union(*map(_shards_in, _subfolders(self.dir / "shards")))
        return {shard for shard in found if shard < self.num_shards}

    def is_complete(self) -> bool:
        """Tell whether every shard is there; stops at the first folder that lacks one, the last one first."""
        for start in reversed(range(0, self.num_shards, SHARDS_PER_FOLDER)):
            folder = self.shard_path(start).parent
            wanted = range(start, min(start + SHARDS_PER_FOLDER, self.num_shards))
            if not _shards_in(folder).issuperset(wanted):
                return False
        return True

    def shard_records(self, shard: int) -> Records:
        """Read the records of one shard from the manifest.

        Raises:
            RunError: the manifest is damaged.
            StorageError: the storage under it failed.
        """
        with reading_manifest(self.manifest_path) as manifest:
            return records_from_table(manifest.read(self.shard_rows(shard)))

    def shard_image_ids(self, shard: int) -> list[str]:
        """Read the ids of one shard's records from the manifest; raises what `shard_records` does."""
        return self._read_ids(self.shard_rows(shard))

    def image_ids(self) -> list[str]:
        """Read the ids of all records from the manifest; raises what `shard_records` does."""
        return self._read_ids(range(self.num_records))

    def labels(self) -> np.ndarray[Any, np.dtype[np.integer[Any]]]:
        """Read the labels of all records, as `Records` has them; raises what `shard_records` does."""
        with reading_manifest(self.manifest_path) as manifest:
            return labels_from_table(manifest.read(range(self.num_records), ["label"]))

    def records(self) -> Records:
        """Read all records from the manifest; raises what `shard_records` does."""
        with reading_manifest(self.manifest_path) as manifest:
            return records_from_table(manifest.read(range(self.num_records)))

    def _read_ids(self, rows: range) -> list[str]:
        with reading_manifest(self.manifest_path) as manifest:
            ids: list[str] = manifest.read(rows, ["image_id"])["image_id"].to_pylist()
            return ids


def run_to_dict(run: Run) -> dict[str, Any]:
    """Return what run.json holds."""
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "created": run.created,
        "model": {"path": location_text(run.model_path), "sha256": run.inspection.model_sha256},
        "spec": spec_to_dict(run.spec),
        "request": request_to_dict(run.request),
        "inspection": inspection_to_dict(run.inspection),
        "images": {**asdict(run.images), "dirs": [location_text(one) for one in run.images.dirs]},
        "metadata": {
            **asdict(run.metadata),
            "path": location_text(run.metadata.path),
            "label_columns": list(run.metadata.label_columns),
        },
        "counts": {"records": run.num_records, "shards": run.num_shards},
        "shard_size": run.shard_size,
        "versions": run.versions,
        "code": run.code,
    }


def read_run(run_dir: Path) -> Run:
    """Read run.json of a run directory.

    Raises:
        RunError: the directory is not there, is no run, or is of a newer camshard.
        SettingsError: it names what lies at URLs that are not read.
        StorageError: the storage under it failed.
    """
    path = run_dir / "run.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] > SCHEMA:
            raise RunError(
                f"{path}: schema {document['schema']} is newer than this camshard reads ({SCHEMA}). "
                "Upgrade camshard."
            )
        return _run_from_dict(run_dir, document)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{run_dir}: no run directory: run.json: {error.strerror}.") from error
    except OSError as error:
        raise StorageError(f"{path}: reading failed: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: damaged: {type(error).__name__}: {error}. Move the file away and give the command that "
            "began the run again: it writes the file anew, and published shards stay."
        ) from error


def _run_from_dict(run_dir: Path, document: dict[str, Any]) -> Run:
    images, metadata = document["images"], document["metadata"]
    return Run(
        dir=run_dir.absolute(),
        run_id=document["run_id"],
        model_path=parse_location(document["model"]["path"]),
        spec=spec_from_dict(document["spec"], str(run_dir / "run.json")),
        request=request_from_dict(document["request"]),
        inspection=inspection_from_dict(document["inspection"]),
        images=ImageSource(**{**images, "dirs": tuple(map(parse_location, images["dirs"]))}),
        metadata=MetadataSource(
            parse_location(metadata["path"]),
            metadata["id_column"],
            tuple(metadata["label_columns"]),
            metadata["group_column"],
        ),
        num_records=document["counts"]["records"],
        shard_size=document["shard_size"],
        created=document["created"],
        versions=document["versions"],
        code=document["code"],
    )


def shard_folder(shard: int) -> str:
    """Return the name of the folder that a shard lies in."""
    return f"{shard // SHARDS_PER_FOLDER:05d}"


def parse_shard_name(name: str) -> tuple[int, int] | None:
    """Return shard and revision of a file's name, None where it is no shard's."""
    match = _SHARD_NAME.fullmatch(name)
    return (int(match[1]), int(match[2] or 0)) if match else None


def _shards_in(folder: Path) -> set[int]:
    """Return the numbers of the shards in a folder, rows done again left out."""
    try:
        with os.scandir(folder) as entries:
            names = [parse_shard_name(entry.name) for entry in entries]
    except FileNotFoundError:
        return set()
    return {numbers[0] for numbers in names if numbers and not numbers[1]}


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
