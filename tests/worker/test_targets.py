"""Predictions by threshold, and the classes that are explained."""

import numpy as np
import pytest
import tensorflow as tf

from shared.model_spec import InputSpec, ModelSpec
from shared.request import Targets
from worker.targets import choose_targets, predict

pytestmark = pytest.mark.tensorflow

INPUT = InputSpec((32, 32))
UNUSED = tf.zeros((2, 2), tf.int32)


def multilabel(**thresholds: float) -> ModelSpec:
    return ModelSpec("multilabel", ("a", "b", "c"), INPUT, thresholds=thresholds)


def targets_of(targets: Targets, spec: ModelSpec, probabilities: list[list[float]]) -> list[list[int]]:
    values = tf.constant(probabilities, tf.float32)
    return choose_targets(targets, predict(spec, values), values, UNUSED).numpy().tolist()


def test_multiclass_predicts_the_likeliest_class():
    spec = ModelSpec("multiclass", ("a", "b", "c"), INPUT)
    assert predict(spec, tf.constant([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])).numpy().tolist() == [1, 0]


def test_binary_predicts_the_positive_class_from_its_threshold_on():
    spec = ModelSpec("binary", ("benign", "malignant"), INPUT, thresholds={"malignant": 0.25})
    found = predict(spec, tf.constant([[0.76, 0.24], [0.75, 0.25], [0.1, 0.9]]))
    assert found.numpy().tolist() == [0, 1, 1]


def test_multilabel_predicts_every_class_from_its_threshold_on():
    found = predict(multilabel(a=0.8), tf.constant([[0.7, 0.5, 0.49], [0.8, 0.1, 0.9]]))
    assert found.numpy().tolist() == [[0, 1, 0], [1, 0, 1]]


def test_predicted_of_one_class_is_the_prediction():
    spec = ModelSpec("multiclass", ("a", "b", "c"), INPUT)
    found = targets_of(Targets("predicted", 1), spec, [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert found == [[1], [0]]


def test_multilabel_targets_are_ranked_and_filled_with_none():
    found = targets_of(Targets("predicted", 3), multilabel(), [[0.6, 0.1, 0.9], [0.9, 0.8, 0.7]])
    assert found == [[2, 0, -1], [0, 1, 2]]


def test_multilabel_explains_no_more_targets_than_there_are_ranks():
    found = targets_of(Targets("predicted", 2), multilabel(), [[0.6, 0.7, 0.9], [0.9, 0.8, 0.7]])
    assert found == [[2, 1], [0, 1]]


def test_multilabel_without_a_predicted_class_explains_the_likeliest():
    found = targets_of(Targets("predicted", 2), multilabel(), [[0.1, 0.4, 0.2], [0.0, 0.0, 0.1]])
    assert found == [[1, -1], [2, -1]]


def test_a_class_over_its_threshold_comes_before_a_likelier_one_below_its_own():
    found = targets_of(Targets("predicted", 2), multilabel(a=0.3, b=0.9), [[0.35, 0.8, 0.1], [0.1, 0.95, 0]])
    assert found == [[0, -1], [1, -1]]


def test_top_gives_the_likeliest_classes_whatever_their_thresholds():
    spec = ModelSpec("multiclass", ("a", "b", "c"), INPUT)
    assert targets_of(Targets("top", 2), spec, [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]) == [[1, 2], [0, 2]]


def test_named_targets_are_the_same_for_every_image():
    spec = ModelSpec("multiclass", ("a", "b", "c"), INPUT)
    found = targets_of(Targets("named", 2, (2, 0)), spec, [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    assert found == [[2, 0], [2, 0]]


def test_label_targets_are_handed_through():
    labels = np.array([[2], [-1]], np.int32)
    found = choose_targets(Targets("label", 1), tf.constant([0, 1]), tf.zeros((2, 3)), tf.constant(labels))
    assert found.numpy().tolist() == [[2], [-1]]
