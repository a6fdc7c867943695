"""The methods against cases worked by hand, and what holds for all of them."""

import numpy as np
import pytest

from shared.methods import ACTIVATIONS, GRADIENTS, METHODS
from worker.explainers import explainer
from worker.explainers.cam import cam
from worker.explainers.channel_weights import gradcam, gradcam_plusplus, xgradcam
from worker.explainers.eigen import eigencam
from worker.explainers.pixel_weights import hirescam, layercam

pytestmark = pytest.mark.tensorflow

BY_GRADIENT = [name for name, method in METHODS.items() if method.needs == GRADIENTS]


def channels(*maps: list[list[float]]) -> np.ndarray:
    """Return one image's 2×2 maps as float32 (1, 2, 2, channels)."""
    return np.stack(maps, axis=-1)[None].astype(np.float32)


FIRST, SECOND = [[1, 2], [3, 4]], [[10, 0], [0, -10]]
MAPS = channels(FIRST, SECOND)
# as after a ReLU, with the sums 2 and 4
ACTIVE = channels([[1, 0], [0, 1]], [[2, 2], [0, 0]])
GRADIENTS_2X2 = channels([[1, 0], [-1, 2]], [[-3, 0.5], [0, 0]])[:, None]


def near(found, expected: list) -> None:
    np.testing.assert_allclose(np.asarray(found)[0, 0], expected, rtol=1e-6)


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


def test_gradcam_weighs_each_channel_by_its_mean_gradient():
    gradients = channels([[1, 1], [1, 5]], [[1, -1], [0, -2]])[:, None]
    near(gradcam(MAPS, gradients), [[2 - 5, 4], [6, 8 + 5]])  # α = 2 and -1/2


def test_gradcam_plusplus_weighs_each_channel_by_its_positive_gradients():
    # ReLU(g) / (2 + S·g): 1/4 and 2/6 in the first channel, 0.5/4 in the second
    near(gradcam_plusplus(ACTIVE, GRADIENTS_2X2), [[7 / 12 + 2 / 8, 2 / 8], [0, 7 / 12]])


def test_gradcam_plusplus_has_the_denominator_of_the_paper():
    maps = np.random.default_rng(1).random((3, 4, 5, 6), np.float32)
    gradients = np.random.default_rng(2).normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    g, sums = gradients.astype(np.float64), maps.sum(axis=(1, 2))[:, None, None, None]
    alphas = g**2 / (2 * g**2 + sums * g**3)
    weights = (alphas * np.maximum(g, 0)).sum(axis=(2, 3))
    expected = np.einsum("bhwk,brk->brhw", maps, weights)
    np.testing.assert_allclose(gradcam_plusplus(maps, gradients), expected, rtol=1e-4)


def test_xgradcam_weighs_each_channel_by_its_gradients_where_it_is_active():
    near(xgradcam(ACTIVE, GRADIENTS_2X2), [[3 / 2 - 2 * 5 / 4, -2 * 5 / 4], [0, 3 / 2]])  # α = 3/2 and -5/4


def test_hirescam_multiplies_maps_and_gradients():
    near(hirescam(ACTIVE, GRADIENTS_2X2), [[1 - 6, 1], [0, 2]])


def test_layercam_multiplies_maps_and_positive_gradients():
    near(layercam(ACTIVE, GRADIENTS_2X2), [[1, 1], [0, 2]])


def test_eigencam_projects_on_the_first_singular_vector():
    # the pixels are (3, 4) times 1, 2, 0, -1: one direction, v = (3, 4)/5
    maps = channels([[3, 6], [0, -3]], [[4, 8], [0, -4]])
    np.testing.assert_allclose(eigencam(maps).numpy()[0], [[5, 10], [0, -5]], rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 7, 64), (9, 9, 16)])
def test_eigencam_is_numpys_decomposition_with_a_sum_that_is_not_negative(shape):
    maps = np.random.default_rng(3).normal(0.1, 1, (4, *shape)).astype(np.float32)
    found = eigencam(maps).numpy()
    for one, image in zip(found, maps, strict=True):
        pixels = image.reshape(-1, shape[2]).astype(np.float64)
        expected = pixels @ np.linalg.svd(pixels)[2][0]
        expected *= np.sign(expected.sum())
        np.testing.assert_allclose(one.ravel(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_a_gradient_that_is_the_same_everywhere_may_be_given_once(method):
    maps = np.random.default_rng(4).random((2, 3, 4, 5), np.float32)
    once = np.random.default_rng(5).normal(size=(2, 3, 1, 1, 5)).astype(np.float32)
    everywhere = np.tile(once, (1, 1, 3, 4, 1))
    found = explainer(method)(maps, once).numpy()
    assert found.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(found, explainer(method)(maps, everywhere), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", BY_GRADIENT)
def test_neither_images_nor_targets_mix(method):
    maps = np.random.default_rng(6).random((2, 3, 4, 5), np.float32)
    gradients = np.random.default_rng(7).normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
    together = explainer(method)(maps, gradients).numpy()
    for image in range(2):
        for rank in range(2):
            alone = explainer(method)(maps[image, None], gradients[image, rank][None, None])
            np.testing.assert_allclose(together[image, rank], alone[0, 0], rtol=1e-5)


@pytest.mark.parametrize("method", [*BY_GRADIENT, "eigencam"])
def test_what_is_zero_stays_zero(method):
    zero, ones = np.zeros((1, 2, 2, 3), np.float32), np.ones((1, 1, 2, 2, 3), np.float32)
    if METHODS[method].needs == ACTIVATIONS:
        assert (explainer(method)(zero).numpy() == 0).all()
        return
    assert (explainer(method)(zero, ones).numpy() == 0).all()
    assert (explainer(method)(zero + 1, 0 * ones).numpy() == 0).all()


def test_every_method_has_a_function_with_its_formula_and_a_reference():
    for name, method in METHODS.items():
        assert explainer(name).__name__ == name
        assert "20" in (explainer(name).__doc__ or ""), name  # the paper's year
        assert method.doi.startswith("10.")
