"""The request completed: methods, layers and targets where nobody names them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from producer.request import allowed_methods, resolve_request
from shared.errors import RequestError
from shared.inspection import Inspection
from shared.methods import METHODS
from shared.model_spec import ModelSpec
from shared.request import ExplainRequest, Targets
from shared.settings import Settings

ALL = Targets("named", 3, (0, 1, 2))
PREDICTED = Targets("predicted", 1)
Resolve = Callable[..., ExplainRequest]


@pytest.fixture
def resolve(
    make_settings: Callable[..., Settings], tiny_inspection: Inspection, tiny_spec: ModelSpec
) -> Resolve:
    """Resolve from flags, and changes of the inspection."""

    def run(model: dict[str, Any] | None = None, **flags: Any) -> ExplainRequest:
        return resolve_request(make_settings(**flags), tiny_spec, replace(tiny_inspection, **(model or {})))

    return run


@pytest.mark.parametrize(
    ("flags", "attributions", "targets"),
    [
        ({}, [("cam", "c2"), ("gradcam", "c2")], ALL),
        ({"methods": "gradcam"}, [("gradcam", "c2")], ALL),
        ({"methods": "gradcam,cam,gradcam"}, [("gradcam", "c2"), ("cam", "c2")], ALL),
        ({"layers": "c1"}, [("gradcam", "c1")], PREDICTED),
        ({"layers": "stages"}, [("cam", "c2"), ("gradcam", "c1"), ("gradcam", "c2")], PREDICTED),
        ({"layers": "last,c2,c1"}, [("cam", "c2"), ("gradcam", "c2"), ("gradcam", "c1")], PREDICTED),
        ({"score": "probability"}, [("cam", "c2"), ("gradcam", "c2")], PREDICTED),
        ({"targets": "mel"}, [("cam", "c2"), ("gradcam", "c2")], Targets("named", 1, (1,))),
    ],
)
def test_what_is_not_asked_for_has_a_default(
    resolve: Resolve, flags: dict[str, Any], attributions: list[tuple[str, str]], targets: Targets
) -> None:
    request = resolve(**flags)
    assert request.attributions == tuple(attributions)
    assert request.targets == targets


def test_a_head_without_pooling_has_grad_cam_alone(resolve: Resolve) -> None:
    request = resolve({"pooling": "flatten", "pooled_linear_head": False})
    assert (request.attributions, request.targets) == ((("gradcam", "c2"),), PREDICTED)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"pooling": "flatten"}, "this head has flatten"),
        ({"pooling": "max"}, "this head has max pooling"),
        ({"pooling": "average"}, "this head has global average pooling, but more than one layer after it"),
    ],
)
def test_a_method_that_the_head_does_not_allow_says_why_and_which_do(
    resolve: Resolve, model: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RequestError, match=rf"--methods: cam needs .*{reason}. This model allows: gradcam, "):
        resolve(model | {"pooled_linear_head": False}, methods="cam")


def test_allowed_methods_have_no_reason_against_them(tiny_inspection: Inspection) -> None:
    assert allowed_methods(tiny_inspection) == dict.fromkeys(METHODS, "")


def test_cam_away_from_the_last_layer_is_refused(resolve: Resolve) -> None:
    with pytest.raises(RequestError, match="--methods cam exists at c2 alone.*--layers c1 leaves it out"):
        resolve(methods="cam", layers="c1")


def test_an_unknown_layer_lists_those_that_could_be_meant(
    resolve: Resolve, tiny_inspection: Inspection
) -> None:
    layers = tuple(
        replace(tiny_inspection.layers[0], name=name)
        for name in ("backbone/conv5_block3_out", "conv4_block6_out", "stem", "c2")
    )
    with pytest.raises(RequestError) as caught:
        resolve({"layers": layers}, layers="conv5_block3_out")
    text = str(caught.value)
    assert text.startswith(
        "--layers: 'conv5_block3_out' is no layer of this model that has a height and a width. "
    )
    assert "Could be meant: backbone/conv5_block3_out, conv4_block6_out." in text
    assert "lists all 4" in text


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"methods": "gradcan"}, "'gradcan' is no method. This model allows: cam, gradcam"),
        ({"score": "loss"}, "--score: 'loss' is not allowed. Allowed: logit, probability"),
        ({"resolution": "full"}, "--resolution: 'full' is not allowed. Allowed: native, input"),
        ({"precision": "float16"}, "--precision: 'float16' is not allowed. Allowed: float32"),
        ({"targets": "melanoma"}, "'melanoma' is no class. Classes: bkl, mel, nv"),
    ],
)
def test_what_is_not_to_be_had_is_refused(resolve: Resolve, flags: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        resolve(**flags)


def test_the_specs_layers_are_the_default(
    make_settings: Callable[..., Settings], tiny_inspection: Inspection, tiny_spec: ModelSpec
) -> None:
    spec = replace(tiny_spec, layers=("c1",))
    assert resolve_request(make_settings(), spec, tiny_inspection).layers == ("c1",)
    assert resolve_request(make_settings(layers="last"), spec, tiny_inspection).layers == ("c2",)
