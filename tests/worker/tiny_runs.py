"""Run directories as planning leaves them, for a tiny model and a few PNG files."""

import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_models import ALL, net, spec_of

from shared.images import MAX_PIXELS
from shared.model_source import ModelSource
from shared.records import Records, records_to_table
from shared.request import ExplainRequest
from shared.run import ImageSource, MetadataSource, Run, read_run, run_to_dict
from worker.model import load_model

REQUEST = ExplainRequest((("cam", "conv2"), ("gradcam", "relu1")), ALL)


def write_model(path: Path) -> keras.Model:
    """Save a pooled net of three classes and return it."""
    model = net("gap, dense softmax").model
    model.save(path)
    return model


def write_run(run_dir: Path, model_path: Path, image_paths: list[Path | None], shard_size: int = 7) -> Run:
    """Write run.json and the manifest; image i has the id image<i> and the label i % 4 - 1 (-1 unknown)."""
    loaded = load_model(ModelSource(model_path), trust_model=False)
    number = len(image_paths)
    records = Records(
        image_ids=[f"image{index}" for index in range(number)],
        image_paths=[None if path is None else str(path) for path in image_paths],
        labels=(np.arange(number) % 4 - 1).astype(np.int16),
        metadata=pa.table({"metadata_age": list(range(number))}),
    )
    run = Run(
        dir=run_dir,
        run_id=f"id-of-{run_dir.name}",
        model_path=model_path,
        spec=spec_of(loaded.keras_model, "multiclass"),
        request=REQUEST,
        inspection=loaded.inspect(),
        images=ImageSource((run_dir.parent / "images",), MAX_PIXELS),
        metadata=MetadataSource(run_dir.parent / "metadata.csv", "image_id", ("dx",)),
        num_records=number,
        shard_size=shard_size,
        created="2026-01-01T00:00:00+00:00",
    )
    run_dir.mkdir(parents=True)
    pq.write_table(records_to_table(records), run.manifest_path, row_group_size=shard_size)
    (run_dir / "run.json").write_text(json.dumps(run_to_dict(run)))
    return read_run(run_dir)


def pixels_of(image_paths: list[Path]) -> np.ndarray:
    """Read and prepare images as the spec of these runs says, apart from camshard."""
    prepared = []
    for path in image_paths:
        rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.float32)
        prepared.append(cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_LINEAR) / 255)
    return np.stack(prepared)
