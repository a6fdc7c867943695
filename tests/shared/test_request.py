"""What is asked of a run: targets by name, and JSON there and back."""

import json

import pytest

from shared.errors import RequestError
from shared.model_spec import InputSpec, ModelSpec
from shared.request import ExplainRequest, Targets, parse_targets, request_from_dict, request_to_dict

SEVEN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec("multiclass", SEVEN, InputSpec((4, 6)))


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("predicted", Targets("predicted", 1)),
        ("label", Targets("label", 1)),
        ("all", Targets("named", 7, (0, 1, 2, 3, 4, 5, 6))),
        ("top3", Targets("top", 3)),
        ("nv, MEL", Targets("named", 2, (5, 4))),
        ("6,0", Targets("named", 2, (6, 0))),
    ],
)
def test_targets_are_parsed(spec: ModelSpec, text: str, targets: Targets) -> None:
    assert parse_targets(text, spec, target_ranks=3) == targets


def test_a_multilabel_image_has_several_predicted_targets() -> None:
    two = ModelSpec("multilabel", ("a", "b"), InputSpec((4, 6)))
    many = ModelSpec("multilabel", SEVEN, InputSpec((4, 6)))
    assert parse_targets("predicted", two, 3) == Targets("predicted", 2)
    assert parse_targets("label", many, 3) == Targets("label", 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("melanoma", "'melanoma' is no class. Classes: akiec, bcc"),
        ("7", "'7' is no class"),
        ("top8", "the model has 7 classes"),
        ("top0", "the model has 7 classes"),
        ("mel,MEL", "a class comes twice"),
        ("mel,4", "a class comes twice"),
        ("", "'' is no class"),
    ],
)
def test_targets_that_are_none_are_refused(spec: ModelSpec, text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_targets(text, spec, 3)


def test_a_request_survives_json() -> None:
    request = ExplainRequest(
        (("cam", "b/last"), ("gradcam", "b/last"), ("gradcam", "conv1")),
        Targets("named", 2, (4, 5)),
        score="probability",
        resolution="input",
    )
    assert request_from_dict(json.loads(json.dumps(request_to_dict(request)))) == request


def test_methods_and_layers_come_once_and_in_order() -> None:
    pairs = (("gradcam", "late"), ("gradcam", "early"), ("cam", "late"))
    request = ExplainRequest(pairs, Targets("predicted", 1))
    assert request.methods == ("gradcam", "cam")
    assert request.layers == ("late", "early")
