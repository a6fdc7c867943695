"""The model spec: what it refuses, and that a TOML file brings it back."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from shared.errors import SpecError
from shared.model_spec import (
    InputSpec,
    ModelSpec,
    read_spec_file,
    spec_from_dict,
    spec_path_beside,
    spec_to_dict,
    write_spec,
)


def document(**differing: Any) -> dict[str, Any]:
    whole = {"task": "multiclass", "classes": ["mel", "nv"], "input": {"size": [4, 6]}}
    return whole | differing


def test_a_written_spec_is_read_back(tmp_path: Path) -> None:
    spec = ModelSpec(
        "multilabel",
        ("Ödem", "Mass"),
        InputSpec((64, 48), channels=1, resize="pad", interpolation="area", scale="-1..1"),
        layers=("conv5", "stages"),
        thresholds={"Mass": 0.25},
    )
    write_spec(tmp_path / "m.toml", spec)
    assert tomllib.loads((tmp_path / "m.toml").read_text(encoding="utf-8"))["input"]["size"] == [64, 48]
    assert spec_from_dict(read_spec_file(tmp_path / "m.toml"), "m.toml") == spec


def test_what_is_not_set_is_not_written() -> None:
    written = spec_to_dict(ModelSpec("multiclass", ("a", "b"), InputSpec((4, 6))))
    assert set(written) == {"task", "classes", "layers", "input"}


def test_the_spec_lies_beside_the_model() -> None:
    assert spec_path_beside(Path("models/my.net.keras")) == Path("models/my.net.toml")


def test_a_threshold_is_a_half_unless_it_is_named() -> None:
    spec = ModelSpec("binary", ("no", "yes"), InputSpec((4, 6)), thresholds={"yes": 0.3})
    assert (spec.threshold("yes"), spec.threshold("no")) == (0.3, 0.5)


@pytest.mark.parametrize(
    ("differing", "text"),
    [
        ({"task": "regression"}, "'regression' is not allowed. Allowed: binary, multiclass, multilabel"),
        ({"task": 3}, "task must be a str, received 3"),
        ({"classes": "mel"}, "classes must be a list"),
        ({"classes": [1, 2]}, "classes must hold text in quotes, received [1, 2]"),
        ({"classes": ["mel", "MEL"]}, "a name comes twice: mel, MEL"),
        ({"layers": [5]}, "layers must hold text"),
        ({"layers": []}, "layers: none are named. Name layers, last or stages"),
        ({"colour": "red"}, "'colour' is not allowed. Allowed: task, classes, layers, thresholds"),
        ({"input": "big"}, "[input] must be a table"),
        ({"input": {"size": [4, 6], "sized": 1}}, "'sized' is not allowed. Allowed: channels, interpolation"),
        ({"input": {}}, "[input] size is missing"),
        ({"input": {"size": 224}}, "[height, width] in pixels is wanted, received 224"),
        ({"input": {"size": [4, 6, 3]}}, "[height, width] in pixels is wanted"),
        ({"input": {"size": [4, 0]}}, "[height, width] in pixels is wanted"),
        ({"input": {"size": [4.5, 6]}}, "[height, width] in pixels is wanted"),
        ({"input": {"size": [4, 6], "channels": 4}}, "1 (grey) or 3 (RGB) are allowed, received 4"),
        ({"input": {"size": [4, 6], "channels": 3.0}}, "1 (grey) or 3 (RGB) are allowed, received 3.0"),
        ({"input": {"size": [4, 6], "channels": True}}, "1 (grey) or 3 (RGB) are allowed, received True"),
        ({"input": {"size": [4, 6], "scale": "0-1"}}, "scale: '0-1' is not allowed. Allowed: 0..1, -1..1"),
        ({"input": {"size": [4, 6], "resize": "fit"}}, "resize: 'fit' is not allowed"),
        ({"input": {"size": [4, 6], "interpolation": "lanczos"}}, "interpolation: 'lanczos' is not allowed"),
        ({"input": {"size": [4, 6], "channels": 1, "scale": "torch"}}, "'torch' needs 3 channels"),
        ({"thresholds": {"bkl": 0.5}}, "'bkl' is no class. Classes: mel, nv"),
        ({"thresholds": {"mel": 1.5}}, "mel = 1.5 is not within 0..1"),
        ({"thresholds": {"mel": "high"}}, "mel = 'high' is not within 0..1"),
        ({"thresholds": {"mel": 0.3}}, "mel = 0.3 would change nothing: a multiclass model"),
        ({"task": "binary", "thresholds": {"mel": 0.3}}, "the second one. Name it for nv"),
        ({"task": "binary", "classes": ["a", "b", "c"]}, "a binary task has two"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(differing: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_from_dict(document(**differing), "m.toml")
    assert str(caught.value).startswith("m.toml: ")
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["task", "classes", "input"])
def test_what_must_be_there_is_asked_for(name: str) -> None:
    whole = document()
    del whole[name]
    with pytest.raises(SpecError, match=f"'{name}' is missing"):
        spec_from_dict(whole, "m.toml")


@pytest.mark.parametrize(
    ("content", "text"), [(b"task = ", "no TOML"), (b"task = '\xff'", "no TOML"), (None, "cannot be read")]
)
def test_a_file_that_is_no_spec_is_refused(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "m.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError, match=text):
        read_spec_file(path)
