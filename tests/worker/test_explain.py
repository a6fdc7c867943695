"""Predictions and attributions of one compiled call, against plain Keras, NumPy and GradientTape."""

import logging

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from plain_keras import assert_near, forward_to_logits, plain_cam, plain_gradcam, plain_logits
from tiny_models import (
    ALL,
    CLASSES,
    HEADS,
    PREDICTED,
    Net,
    centred,
    conv_maps,
    explain,
    explainer_of,
    lively,
    net,
    residual_net,
    spec_of,
)

from shared.methods import METHODS
from shared.request import ExplainRequest, Targets
from worker.explain import Explained

pytestmark = pytest.mark.tensorflow

CAM, LAST, MID = ("cam", "conv2"), ("gradcam", "conv2"), ("gradcam", "relu1")
UNUSED = np.full((4, 1), -1, np.int32)


def feature_maps(built: Net, images: np.ndarray) -> np.ndarray:
    return forward_to_logits(built, "conv2")(images)[0].numpy()


@pytest.fixture(scope="module")
def pooled() -> Net:
    return net("gap, dense softmax")


@pytest.fixture(scope="module")
def all_classes(pooled, images) -> Explained:
    """Every class of four images: CAM and Grad-CAM at the last layer, Grad-CAM in the middle."""
    return explain(pooled.model, images, ExplainRequest((CAM, LAST, MID), ALL))


def test_probabilities_and_logits_are_those_of_predict(pooled, all_classes, images):
    assert_near(all_classes.logits, plain_logits(pooled, images), 1e-5)
    np.testing.assert_allclose(all_classes.probabilities, pooled.model.predict(images, verbose=0), atol=1e-5)
    assert all_classes.predictions.tolist() == all_classes.logits.argmax(axis=1).tolist()
    assert len(set(all_classes.predictions)) > 1  # or the targets of these tests would all be alike


def test_cam_of_all_classes_equals_a_loop_over_the_channels(pooled, all_classes, images):
    weights = pooled.dense.kernel.numpy()
    expected = [
        [plain_cam(maps, weights[:, index]) for index in range(CLASSES)]
        for maps in feature_maps(pooled, images)
    ]
    assert_near(all_classes.attributions[CAM], np.array(expected))


@pytest.mark.parametrize("pair", [LAST, MID])
@pytest.mark.parametrize("target", range(CLASSES))
def test_gradcam_of_all_classes_equals_a_plain_gradient_tape(pooled, all_classes, images, pair, target):
    expected = plain_gradcam(images, forward_to_logits(pooled, pair[1]), [target] * 4)
    assert_near(all_classes.attributions[pair][:, target], expected)


def test_cam_is_height_times_width_times_gradcam_on_a_pooled_linear_head(all_classes):
    assert_near(all_classes.attributions[CAM], 64 * all_classes.attributions[LAST], 1e-6)


def test_one_sigmoid_unit_is_two_classes_and_the_negative_one_is_explained_by_the_negated_score(images):
    built = net("gap, one sigmoid")
    both = Targets("named", 2, (0, 1))
    request = ExplainRequest((CAM, LAST, MID), both)
    found = explain(built.model, images, request, spec_of(built.model, "binary"))
    positive = built.model.predict(images, verbose=0)[:, 0]
    assert (found.logits[:, 0] == 0).all()
    assert_near(found.logits[:, 1:], plain_logits(built, images), 1e-5)
    np.testing.assert_allclose(found.probabilities, np.stack([1 - positive, positive], axis=1), atol=1e-5)
    weights = built.dense.kernel.numpy()[:, 0]
    cams = np.array([plain_cam(maps, weights) for maps in feature_maps(built, images)])
    assert_near(found.attributions[CAM][:, 1], cams)
    for pair in (LAST, MID):
        expected = plain_gradcam(images, forward_to_logits(built, pair[1]), [0] * 4)
        assert_near(found.attributions[pair][:, 1], expected)
    for values in found.attributions.values():
        assert (values[:, 0] == -values[:, 1]).all()


def test_logits_without_activation_are_probabilities_by_the_specs_task(images):
    built = net("gap, dense logits")
    request = ExplainRequest((CAM,), Targets("top", 2))
    found = explain(built.model, images, request, spec_of(built.model, "multilabel"))
    expected = 1 / (1 + np.exp(-plain_logits(built, images)))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert found.targets.tolist() == np.argsort(-expected, axis=1)[:, :2].tolist()


def test_multilabel_explains_each_images_own_classes_over_their_thresholds(images):
    built = net("gap, sigmoids")
    probabilities = built.model.predict(images, verbose=0)
    thresholds = {f"c{index}": float(np.median(probabilities[:, index])) for index in range(CLASSES)}
    spec = spec_of(built.model, "multilabel", thresholds)
    found = explain(built.model, images, ExplainRequest((CAM, MID), Targets("predicted", 2)), spec)
    weights = built.dense.kernel.numpy()
    maps = feature_maps(built, images)
    numbers = set()
    for row, values in enumerate(probabilities):
        over = [index for index in np.argsort(-values) if values[index] >= thresholds[f"c{index}"]]
        wanted = over[:2] or [int(values.argmax())]
        numbers.add(len(wanted))
        assert found.targets[row].tolist() == [*wanted, -1][:2]
        for rank, target in enumerate(wanted):
            assert_near(found.attributions[CAM][row, rank], plain_cam(maps[row], weights[:, target]))
    assert numbers == {1, 2}
    for values in found.attributions.values():
        assert (np.isnan(values).all(axis=(2, 3)) == (found.targets == -1)).all()


def test_labels_are_explained_and_unknown_ones_give_nan(pooled, all_classes, images):
    labels = np.array([[2], [-1], [0], [1]], np.int32)
    found = explainer_of(pooled.model, ExplainRequest((CAM, MID), Targets("label", 1)), 4)((images,), labels)
    assert found.targets.tolist() == labels.tolist()
    for pair in (CAM, MID):
        assert np.isnan(found.attributions[pair][1]).all()
        for row in (0, 2, 3):
            assert_near(found.attributions[pair][row, 0], all_classes.attributions[pair][row, labels[row, 0]])


def test_the_score_may_be_the_probability(pooled, images):
    request = ExplainRequest((LAST, MID), Targets("top", 2), score="probability")
    found = explain(pooled.model, images, request)
    for pair in (LAST, MID):
        logits_of = forward_to_logits(pooled, pair[1])

        def forward(image, logits_of=logits_of):
            maps, logits = logits_of(image)
            return maps, tf.nn.softmax(logits)

        expected = plain_gradcam(images, forward, found.targets[:, 1])
        assert_near(found.attributions[pair][:, 1], expected)


def test_the_probability_of_the_negative_class_of_one_sigmoid_has_the_negated_gradient(images):
    built = net("gap, one sigmoid")
    request = ExplainRequest((LAST,), Targets("named", 2, (0, 1)), score="probability")
    found = explain(built.model, images, request, spec_of(built.model, "binary")).attributions[LAST]

    def forward(image):
        maps, logits = forward_to_logits(built, "conv2")(image)
        return maps, tf.sigmoid(logits)

    assert_near(found[:, 1], plain_gradcam(images, forward, [0] * 4))
    assert_near(found[:, 0], -found[:, 1])


def test_several_layers_at_once_and_those_that_a_skip_connection_bypasses(images):
    built = residual_net()
    pairs = tuple(("gradcam", layer) for layer in ("stem", "mid1", "out1", "mid2", "skip2", "out2"))
    found = explain(built.model, images, ExplainRequest(pairs, PREDICTED))
    for pair in pairs:
        expected = plain_gradcam(images, forward_to_logits(built, pair[1]), found.targets[:, 0])
        assert_near(found.attributions[pair][:, 0], expected)


def test_a_layer_gives_the_same_alone_as_among_others(images):
    built = residual_net()
    alone = explain(built.model, images, ExplainRequest((("gradcam", "mid2"),), PREDICTED))
    expected = plain_gradcam(images, forward_to_logits(built, "mid2"), alone.targets[:, 0])
    assert_near(alone.attributions["gradcam", "mid2"][:, 0], expected)


def test_attributions_resized_to_the_input_are_those_of_opencv(pooled, all_classes, images):
    found = explain(pooled.model, images, ExplainRequest((CAM, MID), ALL, resolution="input"))
    for pair in (CAM, MID):
        native = all_classes.attributions[pair].reshape(12, *all_classes.attributions[pair].shape[2:])
        expected = [cv2.resize(one, (32, 32), interpolation=cv2.INTER_LINEAR) for one in native]
        assert_near(found.attributions[pair].reshape(12, 32, 32), np.array(expected))


def test_an_images_results_depend_neither_on_the_rest_of_the_batch_nor_on_padding(pooled, images):
    explainer = explainer_of(pooled.model, ExplainRequest((CAM, LAST, MID), PREDICTED), 4)
    first = explainer((images,), UNUSED)
    padded = np.zeros_like(images)
    padded[0] = images[2]
    others = np.stack([1e3 * images[0], images[2], np.full_like(images[0], np.nan), images[1]])
    for batch, place in ((padded, 0), (others, 1)):
        again = explainer((batch,), UNUSED)
        assert_near(again.logits[place], first.logits[2], 1e-6)
        assert again.targets[place] == first.targets[2]
        for pair, values in first.attributions.items():
            assert_near(again.attributions[pair][place], values[2], 1e-6)


def test_explaining_changes_no_weight_and_no_moving_average(images):
    model = residual_net().model
    before = [np.array(variable) for variable in model.variables]
    explain(model, images, ExplainRequest((("gradcam", "mid1"), ("cam", "out2")), ALL))
    assert len(before) == 22
    for variable, value in zip(model.variables, before, strict=True):
        assert np.array(variable).tobytes() == value.tobytes(), variable.path


def test_attributions_of_maps_that_are_zero_stay_zero(images):
    built = net("gap, dense softmax")
    conv2 = built.model.get_layer("conv2")
    conv2.bias.assign(np.full(8, -1e3))
    found = explain(built.model, images, ExplainRequest((CAM, LAST, MID), ALL))
    assert_near(found.logits, np.tile(built.dense.bias.numpy(), (4, 1)), 1e-6)
    for values in found.attributions.values():
        assert (values == 0).all()


def test_xla_which_gpus_take_gives_the_same(images):
    built = residual_net()
    pairs = [(method, layer) for method in METHODS if method != "cam" for layer in ("mid1", "bn1", "out2")]
    request = ExplainRequest((("cam", "out2"), *pairs), ALL, save_features=True)
    plain, compiled = (
        explainer_of(built.model, request, 4, xla=xla)((images,), np.full((4, CLASSES), -1, np.int32))
        for xla in (False, True)
    )
    for one, other in zip(tf.nest.flatten(plain), tf.nest.flatten(compiled), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize("xla", [False, True])
def test_nothing_is_compiled_twice(pooled, images, xla):
    explainer = explainer_of(pooled.model, ExplainRequest((MID,), PREDICTED), 4, xla=xla)
    for _ in range(3):
        explainer((images,), UNUSED)
    assert explainer._compiled.experimental_get_tracing_count() == 1


def test_a_model_that_xla_cannot_compile_is_explained_without_and_said_so_once(images, caplog):
    """Strings do not exist in XLA."""
    inputs = keras.Input((32, 32, 3))
    maps = conv_maps(inputs)
    through_text = layers.Lambda(
        lambda x: tf.ensure_shape(tf.strings.to_number(tf.strings.as_string(x, precision=9)), x.shape),
        output_shape=(8, 8, 8),
        name="text",
    )(maps)
    outputs, before, dense = HEADS["gap, dense softmax"](through_text)
    built = centred(Net(lively(keras.Model(inputs, outputs)), before, dense))
    explainer = explainer_of(built.model, ExplainRequest((("cam", "text"),), PREDICTED), 4, xla=True)
    with caplog.at_level(logging.WARNING, "worker.explain"):
        found = explainer((images,), UNUSED)
        again = explainer((images,), UNUSED)
    assert [record.message.startswith("XLA cannot compile this model") for record in caplog.records] == [True]
    weights = built.dense.kernel.numpy()
    expected = [
        plain_cam(maps, weights[:, target])
        for maps, target in zip(feature_maps(built, images), found.targets[:, 0], strict=True)
    ]
    assert_near(found.attributions["cam", "text"][:, 0], np.array(expected))
    assert_near(again.attributions["cam", "text"], found.attributions["cam", "text"], 1e-6)


def test_an_error_of_the_model_itself_is_not_taken_for_one_of_xla_twice(images, caplog):
    inputs = keras.Input((32, 32, 3))

    def refuse(x):
        with tf.control_dependencies([tf.debugging.assert_less(x, -1.0, message="only night images")]):
            return tf.identity(x)

    maps = layers.Lambda(refuse, output_shape=(32, 32, 3))(inputs)
    model = keras.Model(inputs, HEADS["gap, dense softmax"](layers.Conv2D(4, 3, name="conv")(maps))[0])
    explainer = explainer_of(model, ExplainRequest((("cam", "conv"),), PREDICTED), 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="only night images"):
        explainer((images,), UNUSED)
    assert caplog.records == []
