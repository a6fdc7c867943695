"""The model spec completed: flags over the file over what the model and the labels tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from producer.spec import default_task, read_document, resolve_spec
from shared.errors import SpecError
from shared.inspection import Inspection
from shared.model_spec import InputSpec, ModelSpec
from shared.settings import Settings

LABELS = ("bkl", "mel", "nv")
Resolve = Callable[..., ModelSpec]


@pytest.fixture
def resolve(make_settings: Callable[..., Settings], tiny_inspection: Inspection, tmp_path: Path) -> Resolve:
    """Resolve from flags, an optional spec file's text, labels, and changes of the inspection."""

    def run(
        text: str | None = None,
        labels: tuple[str, ...] = LABELS,
        model: dict[str, Any] | None = None,
        **flags: Any,
    ) -> ModelSpec:
        if text is not None:
            (tmp_path / "model.toml").write_text(text)
        settings = make_settings(model=tmp_path / "model.keras", **flags)
        document, where = read_document(settings)
        inspection = replace(tiny_inspection, **(model or {}))
        return resolve_spec(document, where, tmp_path / "model.keras", inspection, labels)

    return run


def test_without_a_file_the_model_and_the_labels_tell_all_but_the_scale(resolve: Resolve) -> None:
    assert resolve(scale="0..1") == ModelSpec(
        "multiclass", LABELS, InputSpec((32, 32), channels=3, resize="stretch", scale="0..1")
    )


def test_the_scale_is_never_guessed(resolve: Resolve) -> None:
    with pytest.raises(SpecError, match=r"never guessed.*--scale 0\.\.1.*camshard inspect MODEL --metadata"):
        resolve()


def test_a_flag_outweighs_the_file(resolve: Resolve) -> None:
    text = (
        'classes = ["nv", "mel", "bkl"]\n[input]\nscale = "caffe"\nresize = "crop"\n[thresholds]\nmel = 0.2\n'
    )
    spec = resolve(text, model={"activation": "sigmoid"}, scale="torch", thresholds="nv=0.7")
    assert spec.classes == ("nv", "mel", "bkl")
    assert (spec.input.scale, spec.input.resize) == ("torch", "crop")
    assert spec.thresholds == {"mel": 0.2, "nv": 0.7}


def test_a_spec_elsewhere_is_named_by_flag(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[input]\nscale = "-1..1"\n')
    assert resolve("task = 5", spec=tmp_path / "other.toml").input.scale == "-1..1"
    with pytest.raises(SpecError, match=r"no\.toml: the model spec cannot be read"):
        resolve(spec=tmp_path / "no.toml")


def test_classes_come_in_the_order_they_are_given(resolve: Resolve) -> None:
    assert resolve(scale="0..1", classes="nv,bkl,mel").classes == ("nv", "bkl", "mel")


@pytest.mark.parametrize("labels", [(), ("mel", "nv")])
def test_labels_do_not_matter_where_the_classes_are_named(resolve: Resolve, labels: tuple[str, ...]) -> None:
    assert resolve(scale="0..1", classes="nv,bkl,mel", labels=labels).classes == ("nv", "bkl", "mel")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (("mel", "nv"), r"tells 3 classes apart, the metadata has 2 labels \(mel, nv\).*--classes"),
        ((), "tells 3 classes apart, the metadata has no label column.*--classes"),
    ],
)
def test_labels_that_are_not_the_outputs_are_no_classes(
    resolve: Resolve, labels: tuple[str, ...], text: str
) -> None:
    with pytest.raises(SpecError, match=text):
        resolve(scale="0..1", labels=labels)


@pytest.mark.parametrize(
    ("activation", "outputs", "task"),
    [
        ("softmax", 7, "multiclass"),
        ("softmax", 2, "binary"),
        ("sigmoid", 1, "binary"),
        ("sigmoid", 5, "multilabel"),
    ],
)
def test_the_head_tells_the_task(
    tiny_inspection: Inspection, activation: str, outputs: int, task: str
) -> None:
    assert default_task(replace(tiny_inspection, activation=activation, outputs=outputs)) == task


def test_plain_outputs_tell_no_task(resolve: Resolve) -> None:
    plain = {"activation": "linear"}
    with pytest.raises(SpecError, match=r"without softmax or sigmoid \(3 plain outputs\).*--task"):
        resolve(scale="0..1", model=plain)
    assert resolve(scale="0..1", model=plain, task="multilabel").task == "multilabel"


def test_one_sigmoid_unit_tells_two_classes_apart(resolve: Resolve) -> None:
    head = {"activation": "sigmoid", "outputs": 1}
    assert resolve(scale="0..1", model=head, labels=("no", "yes")).classes == ("no", "yes")


@pytest.mark.parametrize(
    ("flags", "model", "text"),
    [
        ({"task": "binary", "classes": "a,b"}, {}, "binary does not fit .* softmax over 3 .*multiclass"),
        ({"task": "multilabel"}, {}, "task multilabel does not fit .* softmax"),
        ({"task": "multiclass"}, {"activation": "sigmoid"}, "does not fit .* sigmoid over 3 .*multilabel"),
        ({"task": "binary", "classes": "a,b"}, {"activation": "linear"}, "does not fit .* 3 plain outputs"),
        ({"task": "ordinal"}, {}, "'ordinal' is not allowed. Allowed: binary, multiclass, multilabel"),
        ({"classes": "a,b"}, {}, r"2 classes \(a, b\) for a multiclass model with 3 outputs; 3 are wanted"),
        ({"size": "64,32"}, {}, "input height 64 does not fit the model, which takes 32"),
        ({"channels": 1}, {}, "input channels 1 does not fit the model, which takes 3"),
        ({"size": "64"}, {}, "--size: HEIGHT,WIDTH in pixels is wanted, received '64'"),
        ({"thresholds": "mel"}, {}, "--thresholds: CLASS=PROBABILITY is wanted, received 'mel'"),
        ({}, {"input_shapes": ((None, None, 3),)}, "the model takes any size. Name one with --size"),
        ({}, {"input_shapes": ((32, 32, 3), (10,))}, "takes 32×32×3 and 10, not one image .* --adapter"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_refused(
    resolve: Resolve, flags: dict[str, Any], model: dict[str, Any], text: str
) -> None:
    with pytest.raises(SpecError, match=text):
        resolve(scale="0..1", model=model, **flags)


def test_a_model_of_any_size_takes_the_one_that_is_named(resolve: Resolve) -> None:
    spec = resolve(scale="0..1", size="48x64", model={"input_shapes": ((None, None, None),)})
    assert (spec.input.size, spec.input.channels) == ((48, 64), 3)


def test_code_is_where_the_spec_that_names_it_is_and_flags_mean_the_working_folder(
    resolve: Resolve, tmp_path: Path, elsewhere: Path
) -> None:
    text = '[code]\nlayers = "layers.py"\n[inputs]\nadapter = "my/adapter.py:make"\n'
    spec = resolve(text, scale="0..1")
    assert spec.custom_layers == str(tmp_path / "layers.py")
    assert spec.adapter == f"{tmp_path}/my/adapter.py:make"
    spec = resolve(text, scale="0..1", custom_layers="own.py", adapter="inputs.py:make")
    assert (spec.custom_layers, spec.adapter) == (str(elsewhere / "own.py"), f"{elsewhere}/inputs.py:make")


def test_with_an_adapter_the_model_may_take_whatever_it_makes(resolve: Resolve) -> None:
    spec = resolve(scale="0..1", adapter="a.py:make", model={"input_shapes": ((4,), (254, 254, 3))})
    assert spec.input.size == (254, 254)
    assert resolve(scale="0..1", adapter="a.py:make", size="64,64").input.size == (64, 64)


def test_an_adapter_without_a_function_is_refused(resolve: Resolve) -> None:
    with pytest.raises(SpecError, match=r"adapter: FILE.py:FUNCTION is wanted, received 'adapter.py'"):
        resolve(scale="0..1", adapter="adapter.py")


def test_an_architecture_and_its_outputs_are_kept(resolve: Resolve) -> None:
    spec = resolve('[weights]\narchitecture = "resnet50-gap"\n', scale="0..1", num_classes=3)
    assert (spec.architecture, spec.num_classes) == ("resnet50-gap", 3)
