import cv2
import numpy as np

from camshard.overlay import Tile, draw_contour, draw_grid, draw_overlay


def test_an_overlay_blends_the_jet_colours_by_alpha() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    heatmap = np.array([[0.0, 1.0]], np.float32)
    blended = draw_overlay(image, heatmap, alpha=0.5)
    cold, hot = cv2.applyColorMap(np.array([[0, 255]], np.uint8), cv2.COLORMAP_JET)[0, :, ::-1].astype(float)
    np.testing.assert_allclose(blended[0, 0], np.round(50 + cold / 2))
    np.testing.assert_allclose(blended[0, 1], np.round(50 + hot / 2))
    assert blended[0, 1, 0] > blended[0, 1, 2], "the highest value is red"


def test_a_grey_image_is_drawn_in_colour() -> None:
    assert draw_overlay(np.zeros((4, 5, 1), np.uint8), np.ones((4, 5), np.float32)).shape == (4, 5, 3)


def test_a_contour_leaves_the_inside_alone() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[4:16, 4:16] = 255
    drawn = draw_contour(np.zeros((20, 20, 3), np.uint8), mask)
    assert (drawn[4, 4:16] == 255).all()
    assert (drawn[8:12, 8:12] == 0).all()


def test_a_grid_sets_tiles_side_by_side_under_their_titles() -> None:
    red, green = (np.full((30, 60, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0)))
    grid = draw_grid([[Tile("red", red), Tile("green", green)]], width=60)
    assert grid.shape[1] == 8 + 2 * (60 + 8)
    middle = 8 + 27 + 15
    assert grid[middle, 8 + 30].tolist() == [255, 0, 0]
    assert grid[middle, 8 + 68 + 30].tolist() == [0, 255, 0]
    assert (grid[8:30, 8:68] < 128).any(), "the title is written"
