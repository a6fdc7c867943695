"""A run directory: run.json, the manifest, and where everything in it lies."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import RunError, StorageError
from shared.inspection import Inspection, inspection_from_dict, inspection_to_dict
from shared.model_source import ModelSource, model_source
from shared.model_spec import ModelSpec, spec_from_dict, spec_to_dict
from shared.request import ExplainRequest, request_from_dict, request_to_dict

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
SHARDS_PER_FOLDER = 1_000
METADATA_PREFIX = "metadata_"
LAYERS_FILE, ADAPTER_FILE = "layers.py", "adapter.py"


@dataclass(frozen=True)
class ImageSource:
    """Where the images of a run lie, and what is accepted as one."""

    dirs: tuple[Path, ...]
    max_pixels: int
    follow_links: bool = False


@dataclass(frozen=True)
class MetadataSource:
    """The CSV a run was planned from, and the columns that meant something."""

    path: Path
    id_column: str
    label_columns: tuple[str, ...] = ()
    group_column: str | None = None


@dataclass(frozen=True)
class Run:
    """One model, one explanation request and one list of records, and the directory of their results."""

    dir: Path
    run_id: str
    model_path: Path
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
        """Every record, in order, a row group per shard."""
        return self.dir / "manifest.parquet"

    @property
    def building_dir(self) -> Path:
        """Where shards are built before they are published."""
        return self.dir / "state" / "building"

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
        folder = f"{shard // SHARDS_PER_FOLDER:05d}"
        return self.dir / "shards" / folder / f"shard-{shard:09d}{suffix}.h5"

    def shard_rows(self, shard: int) -> range:
        """Return the records of a shard, counted from 0 over the run."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.num_records))

    def published_shards(self) -> set[int]:
        """Return the numbers of the shards that are there, from the folders' listings alone."""
        found: set[int] = set()
        for folder in _subfolders(self.dir / "shards"):
            with os.scandir(folder) as entries:
                found.update(
                    int(entry.name[6:15])
                    for entry in entries
                    if entry.name.startswith("shard-") and len(entry.name) == len("shard-000000000.h5")
                )
        return found

    @cached_property
    def _manifest(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.manifest_path)

    def shard_records(self, shard: int) -> "Records":
        """Read the records of one shard from the manifest: one row group.

        Raises:
            RunError: the manifest is damaged.
            StorageError: the storage under it failed.
        """
        with _reading(self.manifest_path):
            return records_from_table(self._manifest.read_row_group(shard))

    def records(self) -> "Records":
        """Read all records from the manifest; raises what `shard_records` does."""
        with _reading(self.manifest_path):
            return records_from_table(pq.read_table(self.manifest_path))


@dataclass(frozen=True)
class Records:
    """Rows of the metadata CSV, validated.

    Attributes:
        image_ids: str, in the CSV's order.
        image_paths: absolute path of each image's file, None where there is none.
        labels: int16 (n,) class index, -1 unknown; multilabel: int8 (n, classes), 1, 0, or -1 unknown.
        metadata: every column of the CSV, named `metadata_<column>`.
    """

    image_ids: list[str]
    image_paths: list[str | None]
    labels: np.ndarray[Any, np.dtype[np.integer[Any]]]
    metadata: pa.Table

    def __len__(self) -> int:
        return len(self.image_ids)

    def frame(self, rows: slice) -> "pd.DataFrame":
        """Return `image_id` and the metadata columns, under their own names, of some rows."""
        import pandas as pd

        frame: pd.DataFrame = self.metadata.slice(rows.start, rows.stop - rows.start).to_pandas()
        frame.columns = [name.removeprefix(METADATA_PREFIX) for name in frame.columns]
        frame["image_id"] = pd.Series(self.image_ids[rows], dtype=object)
        return frame


def records_to_table(records: Records) -> pa.Table:
    """Return the manifest's table: image_id, image_path, label, then the metadata columns."""
    labels = records.labels
    column = pa.array(labels) if labels.ndim == 1 else pa.array(list(labels), pa.list_(pa.int8()))
    table = records.metadata
    for name, values in (
        ("label", column),
        ("image_path", pa.array(records.image_paths, pa.string())),
        ("image_id", pa.array(records.image_ids, pa.string())),
    ):
        table = table.add_column(0, name, values)
    return table


def records_from_table(table: pa.Table) -> Records:
    """Build records from (a row group of) the manifest's table."""
    label = table["label"].combine_chunks()
    labels = (
        np.stack(label.to_numpy(zero_copy_only=False)).astype(np.int8)
        if pa.types.is_list(label.type)
        else label.to_numpy(zero_copy_only=False).astype(np.int16)
    )
    return Records(
        image_ids=table["image_id"].to_pylist(),
        image_paths=table["image_path"].to_pylist(),
        labels=labels,
        metadata=table.drop_columns(["image_id", "image_path", "label"]),
    )


def run_to_dict(run: Run) -> dict[str, Any]:
    """Return what run.json holds."""
    return {
        "schema": SCHEMA,
        "run_id": run.run_id,
        "created": run.created,
        "model": {"path": str(run.model_path), "sha256": run.inspection.model_sha256},
        "spec": spec_to_dict(run.spec),
        "request": request_to_dict(run.request),
        "inspection": inspection_to_dict(run.inspection),
        "images": {**asdict(run.images), "dirs": [str(one) for one in run.images.dirs]},
        "metadata": {
            **asdict(run.metadata),
            "path": str(run.metadata.path),
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
        model_path=Path(document["model"]["path"]),
        spec=spec_from_dict(document["spec"], str(run_dir / "run.json")),
        request=request_from_dict(document["request"]),
        inspection=inspection_from_dict(document["inspection"]),
        images=ImageSource(**{**images, "dirs": tuple(map(Path, images["dirs"]))}),
        metadata=MetadataSource(
            Path(metadata["path"]),
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


@contextmanager
def _reading(manifest_path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None):  # of the file system; pyarrow says without one what is damaged
            raise StorageError(f"{manifest_path}: reading failed: {error}.") from error
        raise RunError(
            f"{manifest_path}: cannot be read: {error}. Give the command that began the run again: it "
            "writes the manifest anew, and published shards stay."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file in one step: whoever reads it sees the old or the new one, whole.

    Raises:
        OSError: as the file system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []
