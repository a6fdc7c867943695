"""What the tests of several folders share: a model as planning sees it, image files, run directories."""

import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.inspection import Inspection, Layer, inspection_path_beside, inspection_to_json
from shared.model_source import ModelSource
from shared.model_spec import InputSpec, ModelSpec
from shared.records import Records, records_to_table
from shared.request import ExplainRequest, Targets
from shared.run import ImageSource, MetadataSource, Run, run_to_dict
from shared.settings import Settings, load_settings

CLASSES = ("bkl", "mel", "nv")

MakeImages = Callable[[Path, Iterable[str]], Path]
WriteModel = Callable[..., Path]
MakeSettings = Callable[..., Settings]


_OF_THE_TESTS = ("CAMSHARD_CI", "CAMSHARD_TEST_DATA")


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_user() -> Iterator[None]:
    """Keep settings in the environment of whoever runs the tests from them and from what they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CAMSHARD_")]:
            if name not in _OF_THE_TESTS:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data for trying things on, which is no part of the repository."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("CAMSHARD_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real data: CAMSHARD_TEST_DATA names no folder")
    return folder


@pytest.fixture(scope="session")
def tf_keras() -> None:
    """Skip where tf-keras, which makes files of Keras 2 in a process of its own, is not installed."""
    if importlib.util.find_spec("tf_keras") is None:
        if os.environ.get("CAMSHARD_CI"):
            pytest.fail("tf-keras is not installed: `make install` does it")
        pytest.skip("tf-keras is not installed")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without a camshard.toml."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def make_settings(elsewhere: Path) -> MakeSettings:
    """Settings from flags alone."""
    return lambda **flags: load_settings(flags)


@pytest.fixture
def tiny_inspection() -> Inspection:
    """A softmax over three classes behind global average pooling; c2 enters the pooling."""
    return Inspection(
        model_sha256="0" * 64,
        keras_version="3.0.0",
        input_shapes=((32, 32, 3),),
        outputs=3,
        activation="softmax",
        pooling="average",
        pooled_linear_head=True,
        last="c2",
        stages=("c1", "c2"),
        layers=(Layer("c1", "Conv2D", (16, 16, 4)), Layer("c2", "Conv2D", (8, 8, 8))),
    )


@pytest.fixture
def tiny_spec() -> ModelSpec:
    return ModelSpec("multiclass", CLASSES, InputSpec((32, 32), scale="0..1"))


@pytest.fixture(scope="session")
def make_images() -> MakeImages:
    """Write a JPEG of 40×32 pixels an id, each of a colour of its own."""

    def make(folder: Path, image_ids: Iterable[str]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number, image_id in enumerate(image_ids):
            pixels = np.full((32, 40, 3), (37 * number % 256, 90, 200), np.uint8)
            cv2.imwrite(str(folder / f"{image_id}.jpg"), pixels)
        return folder

    return make


@pytest.fixture
def write_model(tiny_inspection: Inspection, tmp_path: Path) -> WriteModel:
    """Write a file that stands for a model, with the inspection beside it: planning needs no more."""

    def write(folder: Path = tmp_path, content: bytes = b"a model", **differing: object) -> Path:
        model_path = folder / "model.keras"
        model_path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        inspection = replace(tiny_inspection, model_sha256=digest, **differing)
        inspection_path_beside(model_path).write_text(inspection_to_json(inspection, ModelSource(model_path)))
        return model_path

    return write


@pytest.fixture
def tiny_run(tmp_path: Path, tiny_inspection: Inspection, tiny_spec: ModelSpec) -> Run:
    """Five records in shards of two, CAM and Grad-CAM at c2 for all three classes; nothing on disk."""
    return Run(
        dir=tmp_path / "run",
        run_id="0123456789ab",
        model_path=tmp_path / "model.keras",
        spec=tiny_spec,
        request=ExplainRequest((("cam", "c2"), ("gradcam", "c2")), Targets("named", 3, (0, 1, 2))),
        inspection=tiny_inspection,
        images=ImageSource((tmp_path / "images",), 100_000_000),
        metadata=MetadataSource(tmp_path / "metadata.csv", "image_id", ("dx",), "lesion_id"),
        num_records=5,
        shard_size=2,
        created="2025-01-01T00:00:00+00:00",
        versions={"camshard": "0.1.0"},
    )


@pytest.fixture
def five_records(tmp_path: Path) -> Records:
    """Records a to e with labels 0, 1, 2, unknown, 0; c has no image file."""
    image_ids = list("abcde")
    return Records(
        image_ids=image_ids,
        image_paths=[None if one == "c" else str(tmp_path / "images" / f"{one}.jpg") for one in image_ids],
        labels=np.array([0, 1, 2, -1, 0], np.int16),
        metadata=pa.table({"metadata_age": [80.0, None, 5.0, 6.0, 7.0], "metadata_sex": list("fmfmf")}),
    )


@pytest.fixture
def run_dir(tiny_run: Run, five_records: Records) -> Run:
    """The tiny run, with its directory written."""
    import json

    tiny_run.dir.mkdir(parents=True)
    pq.write_table(records_to_table(five_records), tiny_run.manifest_path, row_group_size=2)
    (tiny_run.dir / "run.json").write_text(json.dumps(run_to_dict(tiny_run)))
    return tiny_run
