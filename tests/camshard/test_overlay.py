from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from camshard.overlay import (
    Tile,
    draw_contour,
    draw_grid,
    draw_overlay,
    draw_strip,
    write_png,
)
from shared.errors import RequestError


def draw_with_matplotlib(
    image: NDArray[np.uint8], heatmap: NDArray[np.float32], alpha: float, colormap: str
) -> NDArray[np.uint8]:
    """Draw as notebooks do, one dot a pixel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = heatmap.shape
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(image, aspect="auto")
    axes.imshow(heatmap, cmap=colormap, alpha=alpha, vmin=0, vmax=1, aspect="auto")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3]


@pytest.mark.parametrize("colormap", ["jet", "viridis", "turbo"])
@pytest.mark.parametrize("alpha", [0, 0.3, 0.4])
def test_an_overlay_is_what_matplotlib_draws(colormap: str, alpha: float) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (120, 160, 3)).astype(np.uint8)
    heatmap = random.random((120, 160)).astype(np.float32)
    heatmap[0, :256] = np.linspace(0, 1, 160, dtype=np.float32)
    theirs = draw_with_matplotlib(image, heatmap, alpha, colormap)
    ours = draw_overlay(image, heatmap, alpha, colormap)
    assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_the_colours_of_jet_are_exact_and_blend_by_alpha() -> None:
    """By jet's definition: 0 is half blue, 1 half red; at level 64 of 255 green has come half way up."""
    image = np.full((1, 3, 3), 100, np.uint8)
    heatmap = np.array([[0.0, 0.25, 1.0]], np.float32)
    green = int(255 * (64 / 255 - 0.125) / 0.25)
    colours = [[0, 0, 127], [0, green, 255], [127, 0, 0]]
    assert draw_overlay(image, heatmap, alpha=1)[0].tolist() == colours
    blended = np.round(75 + np.array(colours) / 4)
    assert draw_overlay(image, heatmap, alpha=0.25)[0].tolist() == blended.tolist()


def test_values_beyond_the_range_take_its_ends_and_nan_shows_the_image() -> None:
    image = np.full((1, 3, 3), 10, np.uint8)
    drawn = draw_overlay(image, np.array([[-3, 7, np.nan]], np.float32), alpha=1)
    assert drawn[0].tolist() == [[0, 0, 127], [127, 0, 0], [10, 10, 10]]


@pytest.mark.parametrize(
    ("alpha", "colormap", "text"),
    [
        (1.5, "jet", r"alpha: 1\.5 is not within 0\.\.1"),
        (float("nan"), "jet", "alpha: nan"),
        (0.4, "hot", "colormap: 'hot' is not known. There are: jet, viridis, turbo"),
    ],
)
def test_a_style_that_cannot_be_drawn_is_refused(alpha: float, colormap: str, text: str) -> None:
    with pytest.raises(RequestError, match=text):
        draw_overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), alpha, colormap)


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


def test_a_strip_keeps_every_pixel_and_sets_white_between() -> None:
    red, green = (np.full((3, 4, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0)))
    strip = draw_strip([red, green])
    assert strip.shape == (3, 4 + 8 + 4, 3)
    np.testing.assert_array_equal(strip[:, :4], red)
    np.testing.assert_array_equal(strip[:, 12:], green)
    assert (strip[:, 4:12] == 255).all()


def test_a_png_holds_the_pixels_and_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    colour, grey = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.arange(8, dtype=np.uint8).reshape(2, 4)
    write_png(path, grey)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), grey)
    write_png(path, colour)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), colour)
    assert [one.name for one in path.parent.iterdir()] == ["a.png"]
