"""The methods against cases worked by hand."""

import numpy as np
import pytest

from worker.explainers.cam import cam, gradcam_of_pooled_linear_head
from worker.explainers.gradient import gradcam

pytestmark = pytest.mark.tensorflow

# one image, 2×2 pixels, two channels
FIRST, SECOND = [[1, 2], [3, 4]], [[10, 0], [0, -10]]
MAPS = np.stack([FIRST, SECOND], axis=-1)[None].astype(np.float32)


def test_cam_adds_the_maps_with_each_targets_weights():
    weights = np.float32([[[1, 0.5], [-2, 1]]])
    expected = [[[1 + 5, 2], [3, 4 - 5]], [[-2 + 10, -4], [-6, -8 - 10]]]
    assert cam(MAPS, weights).numpy().tolist() == [expected]


def test_cam_keeps_the_images_of_a_batch_apart():
    maps = np.concatenate([MAPS, 2 * MAPS])
    weights = np.float32([[[1, 0]], [[0, 1]]])
    assert cam(maps, weights).numpy()[:, 0].tolist() == [FIRST, (2 * np.array(SECOND)).tolist()]


def test_the_mean_of_cam_is_the_logit_less_its_bias():
    weights = np.float32([[[1, 0.5]]])
    assert cam(MAPS, weights).numpy().mean() == MAPS.mean(axis=(0, 1, 2)) @ [1, 0.5]


def test_gradcam_of_a_pooled_linear_head_is_cam_by_the_number_of_pixels():
    weights = np.float32([[[1, 0.5]]])
    expected = [[[[6 / 4, 2 / 4], [3 / 4, -1 / 4]]]]
    assert gradcam_of_pooled_linear_head(MAPS, weights).numpy().tolist() == expected


def test_gradcam_weighs_each_channel_by_its_mean_gradient():
    gradients = np.stack([[[1, 1], [1, 5]], [[1, -1], [0, -2]]], axis=-1)[None].astype(np.float32)
    # α = 2 and -1/2
    expected = [[[2 - 5, 4], [6, 8 + 5]]]
    assert gradcam(MAPS, gradients).numpy().tolist() == expected


def test_gradcam_averages_gradients_over_pixels_and_not_over_the_batch():
    gradients = np.zeros((2, 2, 2, 2), np.float32)
    gradients[0, ..., 0] = 1
    gradients[1, ..., 1] = 3
    found = gradcam(np.concatenate([MAPS, MAPS]), gradients).numpy()
    assert found.tolist() == [FIRST, (3 * np.array(SECOND)).tolist()]
