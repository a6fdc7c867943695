"""Every method at several layers in one compiled call, against tapes, closed forms and differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from plain_keras import assert_near, forward_to_logits
from tiny_models import (
    ALL,
    CLASSES,
    PREDICTED,
    Net,
    explain,
    explainer_of,
    loaded,
    net,
    residual_net,
    spec_of,
)

from shared.methods import GRADIENTS, METHODS
from shared.request import ExplainRequest, Targets
from worker.explain import Explained, Explainer
from worker.explainers import explainer

pytestmark = pytest.mark.tensorflow

BY_GRADIENT = [name for name, method in METHODS.items() if method.needs == GRADIENTS]
LAYERS = ("mid1", "out1", "out2")


def maps_and_gradients(
    built: Net, images: np.ndarray, layer: str, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the layer's maps and d logit / d maps of all images, one image at a time on a plain tape."""
    maps, gradients = [], []
    for image in images:
        with tf.GradientTape() as tape:
            values, logits = forward_to_logits(built, layer)(image[None])
            score = logits[0, target]
        maps.append(values.numpy()[0])
        gradients.append(tape.gradient(score, values).numpy()[0])
    return np.array(maps), np.array(gradients)


def in_numpy(method: str, maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the papers' formulas for one image in float64, written apart from camshard."""
    maps, gradients = maps.astype(np.float64), gradients.astype(np.float64)
    positive, sums = np.maximum(gradients, 0), maps.sum(axis=(0, 1))
    if method == "hirescam":
        return (gradients * maps).sum(axis=2)
    if method == "layercam":
        return (positive * maps).sum(axis=2)
    if method == "gradcam":
        weights = gradients.mean(axis=(0, 1))
    elif method == "xgradcam":
        weights = np.divide(
            (gradients * maps).sum(axis=(0, 1)), sums, where=sums != 0, out=np.zeros_like(sums)
        )
    else:
        below = 2 * gradients**2 + sums * gradients**3
        alphas = np.divide(gradients**2, below, where=below != 0, out=np.zeros_like(below))
        weights = (alphas * positive).sum(axis=(0, 1))
    return (weights * maps).sum(axis=2)


@pytest.fixture(scope="module")
def everything(images):
    """All methods at three layers for all classes of a residual net."""
    built = residual_net()
    pairs = [(method, layer) for method in [*BY_GRADIENT, "eigencam"] for layer in LAYERS]
    return built, explain(built.model, images, ExplainRequest((("cam", "out2"), *pairs), ALL))


@pytest.mark.parametrize("method", BY_GRADIENT)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("target", [0, CLASSES - 1])
def test_a_method_at_a_layer_is_the_papers_formula_of_maps_and_gradients(
    everything, images, method, layer, target
):
    built, found = everything
    maps, gradients = maps_and_gradients(built, images, layer, target)
    expected = np.array([in_numpy(method, *pair) for pair in zip(maps, gradients, strict=True)])
    assert_near(found.attributions[method, layer][:, target], expected)


def test_eigencam_is_the_same_for_every_target(everything, images):
    built, found = everything
    maps = forward_to_logits(built, "mid1")(images)[0]
    for target in range(CLASSES):
        assert_near(found.attributions["eigencam", "mid1"][:, target], explainer("eigencam")(maps).numpy())


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_on_a_pooled_linear_head_cam_is_height_times_width_times(everything, method):
    _, found = everything
    assert_near(found.attributions["cam", "out2"], 64 * found.attributions[method, "out2"], 1e-5)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_the_closed_form_of_a_pooled_linear_head_is_what_a_tape_gives(images, method):
    built = net("gap, dense softmax")
    closed = explain(built.model, images, ExplainRequest(((method, "conv2"),), ALL))
    for target in range(CLASSES):
        maps, gradients = maps_and_gradients(built, images, "conv2", target)
        expected = np.array([in_numpy(method, *pair) for pair in zip(maps, gradients, strict=True)])
        assert_near(closed.attributions[method, "conv2"][:, target], expected)


def test_gradients_are_those_of_finite_differences_in_float64(images):
    """Behind relu1: conv2, a hidden layer, the logits."""
    built = net("gap, dense relu, dense")
    request = ExplainRequest((("gradcam", "relu1"),), PREDICTED)
    found = explain(built.model, images[:1], request)
    maps = forward_to_logits(built, "relu1")(images[:1])[0].numpy().astype(np.float64)
    inputs = keras.Input(maps.shape[1:], dtype="float64")
    values = layers.Conv2D(8, 3, 2, padding="same", activation="relu", dtype="float64")(inputs)
    values = layers.GlobalAveragePooling2D(dtype="float64")(values)
    values = layers.Dense(6, "relu", dtype="float64")(values)
    behind = keras.Model(inputs, layers.Dense(CLASSES, dtype="float64")(values))
    behind.set_weights(built.model.get_weights()[-6:])
    step = 1e-6
    moves = step * np.eye(maps.size).reshape(-1, *maps.shape[1:])
    target = found.targets[0, 0]
    up, down = (np.asarray(behind(maps + sign * moves))[:, target] for sign in (1, -1))
    gradients = ((up - down) / (2 * step)).reshape(maps.shape[1:])
    assert_near(found.attributions["gradcam", "relu1"][0, 0], in_numpy("gradcam", maps[0], gradients))


def test_one_backward_pass_a_target_serves_all_layers_and_methods(images):
    """Counted in the graph: a gradient of a convolution's input a convolution behind the earliest layer."""

    def count(pairs, targets) -> int:
        made = explainer_of(residual_net().model, ExplainRequest(pairs, targets), 4)
        graph = made._plain.get_concrete_function().graph
        return sum(one.type == "Conv2DBackpropInput" for one in graph.get_operations())

    one = count((("gradcam", "out1"),), PREDICTED)
    many = tuple((method, layer) for method in BY_GRADIENT for layer in ("out1", "mid2", "out2"))
    assert one == 3  # mid2, end2, skip2
    assert count(many, PREDICTED) == one
    assert count(many, ALL) == CLASSES * one
    assert count((("gradcam", "out2"), ("hirescam", "out2"), ("cam", "out2"), ("eigencam", "mid1")), ALL) == 0


def test_features_are_the_pooled_last_maps(images):
    built = net("gap, dense softmax")
    asked = explain(built.model, images, ExplainRequest((("cam", "conv2"),), ALL, save_features=True))
    maps = forward_to_logits(built, "conv2")(images)[0].numpy()
    assert_near(asked.features, maps.mean(axis=(1, 2)), 1e-5)
    assert explain(built.model, images, ExplainRequest((("cam", "conv2"),), ALL)).features is None


@pytest.mark.parametrize(("precision", "bound"), [("mixed_float16", 0.02), ("bfloat16", 0.1)])
def test_the_backbone_computes_in_half_precision_and_the_head_and_gradients_in_float32(
    images, precision, bound
):
    model = loaded(residual_net().model)
    pairs = (("cam", "out2"), ("gradcam", "out1"), ("layercam", "out2"))

    def run(precision: str) -> Explained:
        request = ExplainRequest(pairs, Targets("named", 1, (1,)), precision=precision)
        explainer = Explainer(model, spec_of(model.keras_model, "multiclass"), request, len(images))
        return explainer((images,), np.full((len(images), 1), -1, np.int32))

    exact, found, again = run("float32"), run(precision), run("float32")
    assert found.logits.dtype == np.float32
    assert 0 < np.abs(found.logits - exact.logits).max() < bound * np.abs(exact.logits).max()
    for pair in pairs:
        assert found.attributions[pair].dtype == np.float32
        assert_near(found.attributions[pair], exact.attributions[pair], bound)
    assert (again.logits == exact.logits).all()  # the precision of one run is not the next one's


def test_small_gradients_do_not_vanish_in_half_precision(images):
    built = residual_net()
    kernel, bias = built.dense.get_weights()
    built.dense.set_weights([1e-7 * kernel, bias])
    pairs = (("gradcam", "out1"),)
    targets = Targets("named", 1, (1,))
    exact = explain(built.model, images, ExplainRequest(pairs, targets))
    found = explain(built.model, images, ExplainRequest(pairs, targets, precision="mixed_float16"))
    assert_near(found.attributions[pairs[0]], exact.attributions[pairs[0]], 0.02)
