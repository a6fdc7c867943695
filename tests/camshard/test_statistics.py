"""Statistics of attributions, on maps whose figures can be worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
from given_results import Given, write_results

from camshard.analysis.statistics import COLUMNS, attribution_statistics, measure
from camshard.results import Results, open_run
from shared.errors import RequestError
from shared.run import Run


def figures(attribution: object) -> dict[str, float]:
    """Measure one map."""
    return dict(zip(COLUMNS, measure(np.array([attribution], np.float32))[0].tolist(), strict=True))


def test_a_single_hot_pixel_in_the_middle_is_all_in_one_place() -> None:
    hot = np.zeros((5, 5))
    hot[2, 2] = 7
    found = figures(hot)
    assert (found["peak_y"], found["peak_x"]) == (0.5, 0.5)
    assert found["border_share"] == pytest.approx(0)
    assert found["spread"] == pytest.approx((1 / 25 / 12 * 2) ** 0.5), "a square of side 1/5"
    assert found["positive_share"] == 1
    assert found["energy"] == pytest.approx(7 / 25)


def test_a_hot_corner_pixel_of_a_coarse_map_counts_by_its_area_in_the_border() -> None:
    hot = np.zeros((7, 7))
    hot[0, 6] = 1
    found = figures(hot)
    assert (found["peak_y"], found["peak_x"]) == pytest.approx((1 / 14, 13 / 14))
    assert found["border_share"] == pytest.approx(1 - 0.3**2)  # 0.1 of its side 1/7 is border: 0.7 of it


@pytest.mark.parametrize("shape", [(2, 2), (7, 7), (1, 1), (10, 10), (12, 16), (224, 224)])
def test_a_uniform_map_has_the_same_figures_at_any_resolution(shape: tuple[int, int]) -> None:
    found = figures(np.full(shape, 3.0))
    assert found["border_share"] == pytest.approx(0.36), "the area outside 0.8 × 0.8"
    assert found["spread"] == pytest.approx((1 / 6) ** 0.5), "of a uniform square: 1/12 + 1/12"
    assert found["positive_share"] == 1
    assert found["energy"] == pytest.approx(3)
    assert (found["peak_y"], found["peak_x"]) == pytest.approx((0.5 / shape[0], 0.5 / shape[1]))


def test_a_map_of_two_by_two_by_hand() -> None:
    found = figures([[1, 3], [0, -4]])
    assert (found["peak_y"], found["peak_x"]) == (0.25, 0.75)
    assert found["positive_share"] == pytest.approx(4 / 8)
    assert found["energy"] == pytest.approx(8 / 4)
    # the centroid of 1 at x = 1/4 and 3 at x = 3/4 is 5/8, its variance 1/4 · 9/64 + 3/4 · 1/64 = 3/64
    assert found["spread"] == pytest.approx((3 / 64 + 2 * (1 / 4) / 12) ** 0.5)
    assert found["border_share"] == pytest.approx(0.36), "each quarter has as much border"


def test_half_negative_energy_is_half_a_positive_share() -> None:
    found = figures([[1, -1], [1, -1]])
    assert found["positive_share"] == 0.5
    assert found["peak_x"] == 0.25
    assert found["spread"] == pytest.approx((1 / 12 + 1 / 48) ** 0.5), "a strip of height 1 and width 1/2"


def test_energy_at_the_edge_of_a_fine_map_is_all_border() -> None:
    edge = np.zeros((20, 30))
    edge[:2] = 1
    assert figures(edge)["border_share"] == pytest.approx(1)
    assert figures(edge.T)["border_share"] == pytest.approx(1)
    assert figures(np.roll(edge, 9, axis=0))["border_share"] == pytest.approx(0.2), "its left and right tenth"


def test_a_spread_agrees_with_points_drawn_from_the_map() -> None:
    random = np.random.default_rng(3)
    attribution = random.random((6, 9))
    pixels = random.choice(54, 400_000, p=attribution.ravel() / attribution.sum())
    y, x = (pixels // 9 + random.random(pixels.size)) / 6, (pixels % 9 + random.random(pixels.size)) / 9
    found = figures(attribution)
    assert found["spread"] == pytest.approx((y.var() + x.var()) ** 0.5, rel=0.005)
    in_border = (np.minimum(y, 1 - y) < 0.1) | (np.minimum(x, 1 - x) < 0.1)
    assert found["border_share"] == pytest.approx(in_border.mean(), abs=0.005)


def test_where_nothing_is_positive_there_is_no_place() -> None:
    zero, negative = figures(np.zeros((3, 3))), figures(np.full((3, 3), -2.0))
    for found in (zero, negative):
        assert np.isnan([found[name] for name in ("peak_y", "peak_x", "border_share", "spread")]).all()
    assert np.isnan(zero["positive_share"])
    assert zero["energy"] == 0
    assert negative["positive_share"] == 0
    assert negative["energy"] == 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_that_is_not_finite_has_no_figures(value: float) -> None:
    found = measure(np.array([[[1, value], [0, 1]], [[1, 0], [0, 0]]], np.float32))
    assert np.isnan(found[0]).all()
    assert found[1, 0] == 0.25


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Image n has its hot pixel, of value n + 1 + rank, at column n of 1 × 5; d has failed."""
    hot = np.zeros((5, 3, 1, 5))
    for number in range(5):
        hot[number, :, 0, number] = number + 1 + np.arange(3)
    given = Given(list("abcde"), np.eye(3)[[0, 1, 2, 0, 1]], {("cam", "c2"): hot}, failed=("d",))
    return open_run(write_results(tmp_path / "run", given).dir)


def test_a_table_has_a_row_a_record_in_order(results: Results) -> None:
    found = attribution_statistics(results)
    assert found.columns.tolist() == ["image_id", *COLUMNS]
    assert found["image_id"].tolist() == results.table["image_id"].tolist()
    np.testing.assert_allclose(found["peak_x"], [0.1, 0.3, 0.5, np.nan, 0.9])
    np.testing.assert_allclose(found["border_share"], [0.6, 0.2, 0.2, np.nan, 0.6], rtol=1e-6)
    # of the predicted class, whose rank is 0, 1, 2 and 1
    np.testing.assert_allclose(found["energy"] * 5, [1 + 0, 2 + 1, 3 + 2, np.nan, 5 + 1], rtol=1e-6)


def test_the_target_may_be_named_or_given_by_rank(results: Results) -> None:
    for asked in ({"target": "NV"}, {"rank": 2}):
        found = attribution_statistics(results, "cam", "c2", **asked)
        np.testing.assert_allclose(found["energy"] * 5, [3, 4, 5, np.nan, 7], rtol=1e-6)


def test_what_is_not_there_is_said(results: Results) -> None:
    with pytest.raises(RequestError, match="no gradcam at any layer"):
        attribution_statistics(results, "gradcam")


def test_rows_in_files_of_their_own_keep_their_place(results_dir: Run) -> None:
    from made_up_results import redo

    redo(results_dir, 1, revision=1, rows=[0], failed=False, value=60)
    found = attribution_statistics(open_run(results_dir.dir), "cam", rank=0)
    assert found["image_id"].tolist() == list("abcde")
    np.testing.assert_allclose(found["energy"].tolist()[2], 60)
    np.testing.assert_allclose(found["border_share"].tolist()[2], 0.36, rtol=1e-6)
