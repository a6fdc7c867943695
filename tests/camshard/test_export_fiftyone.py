import base64
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from camshard.export import fiftyone
from camshard.export.fiftyone_format import field_name
from camshard.export.request import ExportRequest, Kind
from camshard.export.rows import Rows
from camshard.export.write import export_run
from camshard.results import open_run
from shared.model_spec import ModelSpec
from shared.run import Run


def read_vector(document: dict[str, Any]) -> NDArray[Any]:
    """Read a vector as FiftyOne does."""
    data = zlib.decompress(base64.b64decode(document["$binary"]["base64"]))
    return np.load(io.BytesIO(data), allow_pickle=False)


def test_a_dataset_has_labels_predictions_metadata_and_heatmaps(pictured_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "fiftyone"
    outcome = export_run(pictured_run.dir, ExportRequest(Kind.FIFTYONE, out=out, methods="cam"))
    assert (outcome.made, [one.image_id for one in outcome.skipped]) == (4, ["c"])
    samples = json.loads((out / "samples.json").read_text())["samples"]
    assert [one["image_id"] for one in samples] == ["a", "b", "d", "e"]
    last = samples[3]
    assert last["filepath"] == str(tmp_path / "images" / "e.jpg")
    assert last["ground_truth"]["label"] == "bkl"
    assert last["prediction"]["label"] == "mel"
    assert last["prediction"]["confidence"] == pytest.approx(0.8)
    np.testing.assert_allclose(read_vector(last["prediction"]["logits"]), np.log([0.1, 0.8, 0.1]), rtol=1e-6)
    assert (last["age"], last["sex"], last["status"]) == (7.0, "f", 0)
    assert "age" not in samples[1], "a missing value"
    assert "ground_truth" not in samples[2], "an unknown label"
    assert last["cam__c2"]["map_path"] == "fields/cam__c2/e.png"
    levels = cv2.imread(str(out / last["cam__c2"]["map_path"]), cv2.IMREAD_UNCHANGED)
    heatmap = open_run(pictured_run.dir).heatmap("e", "cam", size=(32, 40))
    np.testing.assert_array_equal(levels, np.round(heatmap * 255))


def test_every_field_of_a_sample_is_declared_as_its_kind(pictured_run: Run, tmp_path: Path) -> None:
    export_run(pictured_run.dir, ExportRequest(Kind.FIFTYONE, out=tmp_path / "f", targets="predicted,label"))
    dataset = json.loads((tmp_path / "f" / "metadata.json").read_text())
    kinds = {one["db_field"]: (one["embedded_doc_type"] or one["ftype"]) for one in dataset["sample_fields"]}
    assert dataset["default_classes"] == ["bkl", "mel", "nv"]
    assert dataset["info"]["camshard_run"] == pictured_run.run_id
    for sample in json.loads((tmp_path / "f" / "samples.json").read_text())["samples"]:
        assert sample.keys() <= kinds.keys()
        for name, value in sample.items():
            if isinstance(value, dict) and "_cls" in value:
                assert kinds[name] == f"fiftyone.core.labels.{value['_cls']}"
    assert kinds["age"] == "fiftyone.core.fields.FloatField"
    assert kinds["sex"] == "fiftyone.core.fields.StringField"
    assert {"gradcam__c2__predicted", "gradcam__c2__label"} < kinds.keys()


def test_the_same_run_gives_the_same_files_and_ids_of_their_own(pictured_run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_run(pictured_run.dir, ExportRequest(Kind.FIFTYONE, out=tmp_path / name))
    texts = [(tmp_path / name / "samples.json").read_text() for name in ("one", "two")]
    assert texts[0] == texts[1]
    found = [text.split('"')[0] for text in texts[0].split('"$oid": "')[1:]]
    assert len(found) == len(set(found)) == 4 * 4 - 1  # sample, label (d has none), prediction, heatmap


def test_an_image_that_is_gone_keeps_its_sample_without_a_heatmap(pictured_run: Run, tmp_path: Path) -> None:
    (tmp_path / "images" / "b.jpg").unlink()
    export_run(pictured_run.dir, ExportRequest(Kind.FIFTYONE, out=tmp_path / "f", ids="b"))
    (sample,) = json.loads((tmp_path / "f" / "samples.json").read_text())["samples"]
    assert sample["prediction"]["label"] == "mel"
    assert "gradcam__c2" not in sample


def test_several_labels_become_classifications(tiny_run: Run) -> None:
    run = replace(tiny_run, spec=ModelSpec("multilabel", ("x", "y"), None))  # type: ignore[arg-type]
    table = pd.DataFrame(
        {"label_x": [1, 0], "label_y": [1, 0], "prediction_x": [0, 1], "prediction_y": [0, 0]}
    )
    rows = Rows(table, run, [None, None], np.zeros((2, 1), np.int16))
    assert fiftyone._class_names(rows, "label") == [["x", "y"], []]
    assert fiftyone._class_names(rows, "prediction") == [[], ["x"]]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("age", "age"),
        ("body site ($)", "body_site____"),
        ("_private", "private"),
        ("xception.block14", "xception_block14"),
        ("metadata", "column_metadata"),
        ("id", "column_id"),
        ("§", "field"),
        ("sex", "sex_"),
    ],
)
def test_names_are_what_fiftyone_accepts(text: str, name: str) -> None:
    assert field_name(text, taken=["sex"]) == name
