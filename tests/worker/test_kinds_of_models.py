"""Each kind of model and of head, against a plain GradientTape over layers that are called one by one."""

from itertools import product

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from model_kinds import KINDS, Kind, image_and_patient, mixed_precision
from plain_keras import assert_near, forward_to_logits, plain_cam, plain_gradcam, plain_logits
from tiny_models import ALL, CLASSES, HEADS, PREDICTED, explain, loaded, nested_net, net, spec_of

from shared.model_spec import InputSpec, ModelSpec
from shared.request import ExplainRequest
from worker.adapter import Adapter
from worker.explain import Explained, Explainer

pytestmark = pytest.mark.tensorflow

SPEC = ModelSpec("multiclass", ("c0", "c1", "c2"), InputSpec((32, 32), scale="0..1"))
LAST, MID = ("gradcam", "conv2"), ("gradcam", "relu1")
TASKS = {"gap, dense softmax of two": "binary", "gap, one sigmoid": "binary", "gap, sigmoids": "multilabel"}


def assert_gradcams(kind: Kind, found: Explained, images: np.ndarray, relative: float = 1e-4) -> None:
    """Check the Grad-CAMs of all classes at all layers that were explained."""
    for (_, layer), values in found.attributions.items():
        for target in range(CLASSES):
            expected = plain_gradcam(images, kind.at(layer), [target] * len(images))
            assert_near(values[:, target], expected, relative)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_model_gives_the_gradcam_of_a_plain_tape(name, images):
    build, explained = KINDS[name]
    kind = build()
    pairs = tuple(("gradcam", layer) for layer in explained)
    found = explain(kind.model, images, ExplainRequest(pairs, ALL), SPEC)
    assert_near(found.logits, kind.forward(images)[1].numpy(), 1e-5)
    np.testing.assert_allclose(found.probabilities, kind.model.predict(images, verbose=0), atol=1e-5)
    assert_gradcams(kind, found, images)


def test_two_inputs_through_an_adapter_give_the_gradcam_of_a_plain_tape(images):
    records = pd.DataFrame({"age": [30.0, 45.0, 60.0, 75.0], "smokes": [0, 1, 1, 0]})
    patients = np.float32([[0.3, 0], [0.45, 1], [0.6, 1], [0.75, 0]])
    kind = image_and_patient(patients)
    model = loaded(kind.model)
    adapter = Adapter(
        lambda images, records: {"patient": records / [100, 1], "image": images}, "", model.graph
    )
    request = ExplainRequest((("gradcam", "first"), ("gradcam", "last")), ALL)
    explainer = Explainer(model, SPEC, request, len(images))
    found = explainer(adapter(images, records), np.full((4, CLASSES), -1, np.int32))
    expected = kind.model.predict([images, patients], verbose=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    for row, target in product(range(4), range(CLASSES)):
        for (_, layer), values in found.attributions.items():
            gradcam = plain_gradcam(images[row : row + 1], kind.at(layer, row), [target])
            assert_near(values[row : row + 1, target], gradcam)


@pytest.mark.parametrize(("policy", "bound"), [("mixed_float16", 0.02), ("mixed_bfloat16", 0.1)])
def test_a_model_of_mixed_precision_has_head_and_gradients_in_float32(images, policy, bound):
    exact, mixed = mixed_precision("float32"), mixed_precision(policy)
    request = ExplainRequest((("gradcam", "first"), ("gradcam", "last")), ALL)
    found = explain(mixed.model, images, request, SPEC)
    assert_near(found.logits, exact.forward(images)[1].numpy(), 1e-6)
    assert_gradcams(exact, found, images, bound)
    assert mixed.model.get_layer("first").compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("name", [name for name in HEADS if name != "gap, one sigmoid"])
def test_each_kind_of_head_gives_the_gradcam_of_the_predicted_class(name, images):
    built = net(name)
    spec = spec_of(built.model, TASKS.get(name, "multiclass"))
    found = explain(built.model, images, ExplainRequest((LAST, MID), PREDICTED), spec)
    logits = plain_logits(built, images)
    targets = logits.argmax(axis=1)
    assert_near(found.logits, logits, 1e-5)
    assert found.targets[:, 0].tolist() == targets.tolist()
    for pair in (LAST, MID):
        expected = plain_gradcam(images, forward_to_logits(built, pair[1]), targets)
        assert_near(found.attributions[pair][:, 0], expected)


def test_layers_of_a_nested_backbone_are_explained_by_their_path(images):
    built = nested_net()
    pairs = (("cam", "backbone/conv2"), ("gradcam", "backbone/relu1"))
    found = explain(built.model, images, ExplainRequest(pairs, PREDICTED))
    backbone = built.model.get_layer("backbone")
    both = keras.Model(backbone.inputs[0], [backbone.get_layer("relu1").output, backbone.output])

    def forward(image):
        maps, last = both(2 * image - 1, training=False)
        return maps, tf.reduce_mean(last, axis=(1, 2)) @ built.dense.kernel + built.dense.bias

    targets = found.targets[:, 0]
    assert_near(found.attributions[pairs[1]][:, 0], plain_gradcam(images, forward, targets))
    last = both(2 * images - 1, training=False)[1].numpy()
    weights = built.dense.kernel.numpy()
    cams = [plain_cam(maps, weights[:, target]) for maps, target in zip(last, targets, strict=True)]
    assert_near(found.attributions[pairs[0]][:, 0], np.array(cams))
