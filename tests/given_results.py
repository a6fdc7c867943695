"""Runs whose results are given as arrays: every number in them is the test's own."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.inspection import Inspection, Layer
from shared.model_spec import InputSpec, ModelSpec
from shared.records import Records, records_to_table
from shared.request import ExplainRequest, Targets
from shared.run import ImageSource, MetadataSource, Run, run_to_dict
from shared.shard import Rows, ShardWriter, Timings
from shared.status import Status


@dataclass
class Given:
    """What a run is to hold; n records of c classes.

    Attributes:
        probabilities: (n, c); the prediction is the highest, for multilabel all from their thresholds on.
        labels: (n,) class indices, for multilabel (n, c) flags; -1 unknown.
        attributions: by (method, layer): (n, ranks, height, width).
        targets: (n, ranks) class indices, -1 none; every class by default.
        kind: of the targets that are given: predicted, label or top.
        thresholds: of each class, for multilabel.
        failed: ids of images that were not there.
        features: (n, channels).
        image_dir: where image files lie, named <id>.jpg.
    """

    image_ids: list[str]
    probabilities: Any
    attributions: dict[tuple[str, str], Any]
    labels: Any = None
    classes: tuple[str, ...] = ("bkl", "mel", "nv")
    task: str = "multiclass"
    targets: Any = None
    kind: str = "top"
    thresholds: Any = 0.5
    failed: tuple[str, ...] = ()
    features: Any = None
    image_dir: Path = Path("nowhere")
    shard_size: int = 2
    input_size: tuple[int, int] = (32, 32)
    columns: dict[str, list[Any]] = field(default_factory=dict)


def write_results(run_dir: Path, given: Given) -> Run:
    """Write the run directory and publish every shard."""
    run = _make_run(run_dir, given)
    records = _make_records(given)
    run_dir.mkdir(parents=True)
    pq.write_table(records_to_table(records), run.manifest_path, row_group_size=run.shard_size)
    (run_dir / "run.json").write_text(json.dumps(run_to_dict(run)))
    for shard in range(run.num_shards):
        rows = np.array(run.shard_rows(shard))
        with ShardWriter(run, shard, records.take(rows.tolist())) as writer:
            writer.write(0, _make_rows(given, rows))
            writer.publish(Timings(0.1, 0.2, 100.0, 100.5))
    return run


def _make_run(run_dir: Path, given: Given) -> Run:
    sizes = {layer: np.shape(values)[2:] for (_, layer), values in given.attributions.items()}
    channels = 8 if given.features is None else np.shape(given.features)[1]
    layers = tuple(Layer(name, "Conv2D", (*size, channels)) for name, size in sizes.items())
    inspection = Inspection(
        "0" * 64, "3.0.0", ((*given.input_size, 3),), len(given.classes), "softmax", "average", True,
        layers[-1].name, tuple(sizes), layers,
    )  # fmt: skip
    ranks = _targets(given).shape[1]
    targets = (
        Targets("named", ranks, tuple(range(ranks))) if given.targets is None else Targets(given.kind, ranks)
    )
    features = given.features is not None
    return Run(
        dir=run_dir,
        run_id=f"id-{run_dir.name}",
        model_path=run_dir.parent / "model.keras",
        spec=ModelSpec(given.task, given.classes, InputSpec(given.input_size, scale="0..1")),
        request=ExplainRequest(tuple(given.attributions), targets, save_features=features),
        inspection=inspection,
        images=ImageSource((given.image_dir,), 1_000_000),
        metadata=MetadataSource(run_dir.parent / "metadata.csv", "image_id", ("dx",)),
        num_records=len(given.image_ids),
        shard_size=given.shard_size,
        created="2026-01-01T00:00:00+00:00",
    )


def _make_records(given: Given) -> Records:
    shape = np.shape(given.probabilities)[: 2 if given.task == "multilabel" else 1]
    labels = np.full(shape, -1) if given.labels is None else np.asarray(given.labels)
    table = pa.table({f"metadata_{name}": values for name, values in given.columns.items()})
    return Records(
        image_ids=given.image_ids,
        image_paths=[
            None if one in given.failed else str(given.image_dir / f"{one}.jpg") for one in given.image_ids
        ],
        labels=labels.astype(np.int16 if labels.ndim == 1 else np.int8),
        metadata=table if given.columns else pa.table({"metadata_row": list(range(len(given.image_ids)))}),
    )


def _targets(given: Given) -> np.ndarray:
    every = np.tile(np.arange(len(given.classes)), (len(given.image_ids), 1))
    return every if given.targets is None else np.asarray(given.targets)


def _make_rows(given: Given, rows: np.ndarray) -> Rows:
    failed = np.array([given.image_ids[row] in given.failed for row in rows])
    probabilities = np.asarray(given.probabilities, np.float32)[rows]
    predictions = (
        probabilities.argmax(axis=1)
        if given.task != "multilabel"
        else probabilities >= np.asarray(given.thresholds, np.float32)
    )

    def nan(values: Any) -> np.ndarray:
        return _where_failed(failed, np.asarray(values, np.float32)[rows], np.nan)

    return Rows(
        statuses=np.where(failed, Status.MISSING, Status.OK).astype(np.int8),
        errors=["no file" if one else "" for one in failed],
        logits=nan(given.probabilities),
        probabilities=nan(given.probabilities),
        predictions=_where_failed(failed, predictions.astype(np.int16), -1),
        targets=_where_failed(failed, _targets(given)[rows].astype(np.int16), -1),
        attributions={pair: nan(values) for pair, values in given.attributions.items()},
        features=None if given.features is None else nan(given.features),
    )


def _where_failed(failed: np.ndarray, values: np.ndarray, instead: float) -> np.ndarray:
    values = values.copy()
    values[failed] = instead
    return values
