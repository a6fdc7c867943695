"""Planning: from a CSV, image folders and a model to a numbered run, without TensorFlow."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_plans import ROWS, MakePlan

from producer.plan import Plan, plan_run, result_bytes
from producer.run_directory import write_run_dir
from shared.errors import (
    ImageFolderError,
    MetadataError,
    MissingExtraError,
    ModelError,
    SettingsError,
    SpecError,
)
from shared.run import read_run
from shared.settings import Settings

ASKED = '{"error": "", "message": "asked"}\n'


def test_a_plan_holds_the_records_in_order(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan()
    assert plan.records.image_ids == list("abcde")
    assert plan.records.image_paths == [f"{tmp_path}/images/{one}.jpg" for one in "abcde"]
    np.testing.assert_array_equal(plan.records.labels, [1, 2, 0, 1, -1])
    assert plan.columns == ("lesion_id", "image_id", "dx", "age")
    assert plan.records.metadata.column_names == [f"metadata_{name}" for name in plan.columns]
    assert plan.class_counts == {"bkl": 1, "mel": 2, "nv": 1, "unknown": 1}
    assert (plan.missing, plan.notices) == ((), ())
    run = plan.run
    assert (run.num_records, run.shard_size, run.spec.classes) == (5, 32, ("bkl", "mel", "nv"))
    assert (run.metadata.label_columns, run.metadata.group_column) == (("dx",), "lesion_id")
    assert run.dir == Path.cwd() / "runs" / f"model-set-{run.run_id}"
    assert not run.dir.exists(), "planning writes nothing"


@pytest.mark.parametrize(("records", "shard_size"), [(5, 32), (64 * 40 - 3, 40), (64 * 2_000, 1_024)])
def test_records_are_spread_over_64_shards_within_bounds(
    make_plan: MakePlan, records: int, shard_size: int
) -> None:
    rows = ("L,a,nv,1", "L,b,bkl,1", *(f"L,i{number},mel,1" for number in range(records - 2)))
    assert make_plan(rows=rows, files="ab").run.shard_size == shard_size


def test_a_missing_image_becomes_a_row_and_a_notice(make_plan: MakePlan) -> None:
    plan = make_plan(files="acd")
    assert plan.records.image_ids == list("abcde")
    assert [path is None for path in plan.records.image_paths] == [False, True, False, False, True]
    assert plan.missing == ("b", "e")
    assert plan.notices == ("2 records have no image file and become rows with status 1 (missing): b, e",)


def test_missing_images_are_left_out_on_request(make_plan: MakePlan) -> None:
    plan = make_plan(files="acd", skip_missing=True)
    assert plan.records.image_ids == list("acd")
    assert "2 records have no image file and are left out: b, e" in plan.notices[0]


def test_a_limit_takes_the_first_records_that_are_left(make_plan: MakePlan) -> None:
    plan = make_plan(files="acd", limit=2)
    assert (plan.records.image_ids, plan.missing) == (["a", "b"], ("b",))
    assert make_plan(files="acd", limit=2, skip_missing=True).records.image_ids == ["a", "c"]
    assert make_plan(limit=99).records.image_ids == list("abcde")


def test_where_and_ids_choose_records_but_not_classes(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(where="dx=mel")
    assert plan.records.image_ids == ["a", "d"]
    assert plan.run.spec.classes == ("bkl", "mel", "nv")
    (tmp_path / "ids.txt").write_text("d\nb\n")
    assert make_plan(ids=tmp_path / "ids.txt").records.image_ids == ["b", "d"]


def test_a_set_without_labels_needs_named_classes_alone(make_plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_text("image_id\na\nb\n")
    plan = make_plan(metadata=tmp_path / "plain.csv", classes="mel,nv,bkl")
    assert plan.class_counts == {"mel": 0, "nv": 0, "bkl": 0, "unknown": 2}


def test_the_run_id_is_the_same_in_another_process_and_another_folder(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    here = make_plan()
    moved = make_plan(folder=tmp_path / "moved", out=tmp_path / "out", workers=4, batch_size=2)
    assert moved.run.run_id == here.run.run_id
    script = (
        "import sys; from pathlib import Path; from producer.plan import plan_run; "
        "from shared.settings import load_settings; folder = Path(sys.argv[1]); "
        "print(plan_run(load_settings(dict(metadata=folder / 'set.csv', images=[folder / 'images'], "
        "model=folder / 'model.keras', scale='0..1'))).run.run_id); assert 'tensorflow' not in sys.modules"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == here.run.run_id


def test_run_ids_stay_what_they_were_so_that_runs_of_earlier_versions_go_on(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_plan().run.run_id == "eeb75a8e953b"
    monkeypatch.setattr("producer.plan._ROWS_AT_ONCE", 2)
    assert make_plan().run.run_id == "eeb75a8e953b"


@pytest.mark.parametrize(
    "differing",
    [
        {"rows": (*ROWS[1:], ROWS[0])},
        {"rows": ("L1,a,nv,80", *ROWS[1:])},
        {"rows": ("L9,a,mel,80", *ROWS[1:])},
        {"limit": 4},
        {"content": b"another model"},
        {"scale": "-1..1"},
        {"interpolation": "area"},
        {"classes": "nv,mel,bkl"},
        {"classes": "bkl,mel,nv", "no_label": "mel"},
        {"methods": "cam"},
        {"layers": "c2,c1"},
        {"targets": "predicted"},
        {"resolution": "input"},
        {"score": "probability"},
        {"precision": "bfloat16"},
        {"save_features": True},
        {"shard_size": 3},
        {"max_pixels": 1_000_000},
    ],
    ids=str,
)
def test_whatever_decides_the_results_changes_the_run_id(
    make_plan: MakePlan, differing: dict[str, Any]
) -> None:
    assert make_plan(**differing).run.run_id != make_plan().run.run_id


def test_thresholds_decide_the_results_too(
    make_plan: MakePlan, write_model: Callable[..., Path], elsewhere: Path
) -> None:
    multilabel = {"model": write_model(elsewhere, activation="sigmoid"), "label_separator": "|"}
    plans = [make_plan(**multilabel, thresholds=one) for one in (None, "mel=0.3")]
    assert plans[0].run.run_id != plans[1].run.run_id


@pytest.mark.parametrize("name", ["metadata", "images", "model"])
def test_what_a_run_cannot_do_without_is_asked_for(make_plan: MakePlan, name: str) -> None:
    with pytest.raises(SettingsError, match=f"--{name} is wanted"):
        make_plan(**{name: None})


def test_trouble_with_the_inputs_comes_through(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(ImageFolderError, match="gone: the image folder cannot be read"):
        make_plan(images=[tmp_path / "gone"])
    with pytest.raises(MetadataError, match="column 'label' is not there"):
        make_plan(label_column="label")
    with pytest.raises(ModelError, match=r"no\.keras: no such model file"):
        make_plan(model=tmp_path / "no.keras")


def test_an_inspection_of_another_file_is_not_believed(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that would look at the model itself is a fake: it needs TensorFlow."""
    make_plan()
    (tmp_path / "model.keras").write_bytes(b"changed after the inspection")
    asked = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, 'log line\n{"error": "MissingExtraError"}\n', "")

    monkeypatch.setattr("producer.inspection.subprocess.run", run)
    text = r"TensorFlow is not installed.*model\.inspection\.json.*pip install 'camshard\[cpu\]'"
    with pytest.raises(MissingExtraError, match=text):
        make_plan_again(make_plan, tmp_path)
    assert json.loads(asked[0][-1])["path"] == f"{tmp_path}/model.keras"


@pytest.mark.parametrize("flags", [{"size": "64,64"}, {"architecture": "resnet50-gap", "num_classes": 3}])
def test_an_inspection_of_the_same_file_taken_otherwise_is_not_believed(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, flags: dict[str, object]
) -> None:
    """The worker that would look at the model itself is a fake: it needs TensorFlow."""
    monkeypatch.setattr(
        "producer.inspection.subprocess.run",
        lambda command, **_: subprocess.CompletedProcess(
            command, 1, '{"error": "", "message": "asked"}\n', ""
        ),
    )
    make_plan(size="32,32")
    with pytest.raises(ModelError, match="asked"):
        make_plan(**flags)


def test_code_is_copied_into_the_run_directory_and_decides_the_run_id(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    code = tmp_path / "inputs.py"
    runs = []
    for text in ("def make(images, records):\n    return images\n", "make = None\n"):
        code.write_text(text)
        plan = make_plan(adapter=f"{code}:make", out=tmp_path / f"run{len(runs)}")
        runs.append(write_run_dir(plan))
        assert (runs[-1].dir / "adapter.py").read_text() == text
        assert read_run(runs[-1].dir) == runs[-1]
    assert runs[0].spec.adapter == "adapter.py:make"
    assert runs[0].run_id != runs[1].run_id
    assert len({make_plan().run.run_id, *(run.run_id for run in runs)}) == 3


def test_code_that_is_not_there_is_named(make_plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--adapter .*gone.py: cannot be read"):
        make_plan(adapter=f"{tmp_path}/gone.py:make")


def make_plan_again(make_plan: MakePlan, tmp_path: Path) -> Plan:
    """Plan with the model as it lies there, not written anew."""
    other = tmp_path / "other"
    return make_plan(folder=other, model=tmp_path / "model.keras")


def test_the_disk_that_results_take_is_counted_by_hand(make_plan: MakePlan) -> None:
    run = make_plan().run
    maps = 2 * 3 * 8 * 8 * 4  # methods, targets, height, width, bytes
    assert result_bytes(run) == 5 * (maps + 3 * 8 + 100) + 50_000


def test_the_whole_ham10000_csv_is_planned_with_defaults(
    shared_data: Path, write_model: Callable[..., Path], make_settings: Callable[..., Settings]
) -> None:
    folder = shared_data / "ham10000"
    settings = make_settings(
        metadata=folder / "HAM10000_metadata.csv",
        images=[folder / "images"],
        model=write_model(outputs=7),
        scale="0..1",
    )
    plan = plan_run(settings)
    assert plan.run.spec.classes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert (len(plan.records), len(plan.missing)) == (10_015, 10_015 - 1_065)
    assert plan.class_counts["nv"] == 6_705
    assert plan.run.shard_size == 157
