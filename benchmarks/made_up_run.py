"""A complete run of any size without a model: real manifest, real shards, made-up numbers."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from shared.inspection import Inspection, Layer
from shared.manifest import write_manifest
from shared.model_spec import InputSpec, ModelSpec
from shared.records import Records
from shared.request import ExplainRequest, Targets
from shared.run import ImageSource, MetadataSource, Run, read_run, run_to_dict
from shared.shard import Rows, ShardWriter, Timings

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
_LAST = "conv5_block3_out"
_SIDE = 7


def make_run(
    run_dir: Path, num_records: int, shard_size: int, ranks: int = 1, images: Sequence[Path] = ()
) -> Run:
    """Write a complete run as HAM10000's metadata and ResNet50 would leave it, CAM for `ranks` classes.

    The attribution of record n is n everywhere in its first rank, so that every row can be checked.

    Args:
        images: files that the records take in turn.
    """
    run = plan_run(run_dir, num_records, shard_size, ranks, images)
    rng = np.random.default_rng(6)
    for shard in range(run.num_shards):
        write_shard(run, shard, rng)
    return run


def plan_run(
    run_dir: Path, num_records: int, shard_size: int, ranks: int = 1, images: Sequence[Path] = ()
) -> Run:
    """Write such a run before its first shard."""
    records = _records(num_records, np.random.default_rng(5), images)
    named = Targets("named", ranks, tuple(range(ranks)))
    run = Run(
        dir=run_dir,
        run_id=f"{num_records:012d}",
        model_path=run_dir / "model.keras",
        spec=ModelSpec("multiclass", CLASSES, InputSpec((224, 224), scale="0..1")),
        request=ExplainRequest((("cam", _LAST),), Targets("predicted", 1) if ranks == 1 else named),
        inspection=inspection(),
        images=ImageSource((run_dir / "images",), 100_000_000),
        metadata=MetadataSource(run_dir / "metadata.csv", "image_id", ("dx",), "lesion_id"),
        num_records=num_records,
        shard_size=shard_size,
        created="2026-01-01T00:00:00+00:00",
    )
    run_dir.mkdir(parents=True)
    write_manifest(run.manifest_path, records, shard_size)
    (run_dir / "run.json").write_text(json.dumps(run_to_dict(run)))
    return read_run(run_dir)


def inspection() -> Inspection:
    """Return what `camshard inspect` finds in ResNet50 with seven classes."""
    layer = Layer(_LAST, "Activation", (_SIDE, _SIDE, 2048))
    shape = ((224, 224, 3),)
    return Inspection("0" * 64, "3", shape, 7, "softmax", "average", True, _LAST, (_LAST,), (layer,))


def _records(number: int, rng: np.random.Generator, images: Sequence[Path]) -> Records:
    labels = rng.integers(0, len(CLASSES), number).astype(np.int16)
    image_ids = [f"ISIC_{index:07d}" for index in range(number)]
    texts = {
        "lesion_id": [f"HAM_{index // 2:07d}" for index in range(number)],
        "image_id": image_ids,
        "dx": np.array(CLASSES, object)[labels],
        "dx_type": np.array(["histo", "follow_up", "consensus"], object)[rng.integers(0, 3, number)],
        "sex": np.array(["female", "male", "unknown"], object)[rng.integers(0, 3, number)],
        "localization": np.array(["back", "trunk", "face", "scalp"], object)[rng.integers(0, 4, number)],
    }
    columns = {f"metadata_{name}": pa.array(values, pa.string()) for name, values in texts.items()}
    columns["metadata_age"] = pa.array(rng.integers(0, 90, number).astype(float))
    paths = [str(images[index % len(images)]) if images else None for index in range(number)]
    return Records(image_ids, paths, labels, pa.table(columns))


def write_shard(run: Run, shard: int, rng: np.random.Generator) -> None:
    """Write and publish a shard of a run that was made up."""
    records, ranks = run.shard_records(shard), run.request.targets.ranks
    number, first = len(records), run.shard_rows(shard).start
    logits = rng.normal(size=(number, len(CLASSES))).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = logits.argmax(axis=1).astype(np.int16)
    attributions = rng.normal(size=(number, ranks, _SIDE, _SIDE)).astype(np.float32)
    attributions[:, 0] = np.arange(first, first + number, dtype=np.float32)[:, None, None]
    rows = Rows(
        statuses=np.zeros(number, np.int8),
        errors=[""] * number,
        logits=logits,
        probabilities=probabilities,
        predictions=predictions,
        targets=predictions[:, None]
        if ranks == 1
        else np.tile(np.arange(ranks, dtype=np.int16), (number, 1)),
        attributions={("cam", _LAST): attributions},
    )
    with ShardWriter(run, shard, records) as writer:
        writer.write(0, rows)
        writer.publish(Timings(0.0, 0.0, 0.0, 0.0))
