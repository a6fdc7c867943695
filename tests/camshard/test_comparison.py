"""Two runs compared, on predictions and maps whose agreement is known."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from given_results import Given, write_results

from camshard.analysis import comparison
from camshard.analysis.comparison import Comparison, compare
from camshard.analysis.correlation import correlate, resize_bilinear
from camshard.results import Results, open_run
from shared.errors import RequestError

PAIR = ("gradcam", "c2")
SURE, UNSURE = [0.8, 0.1, 0.1], [0.5, 0.3, 0.2]
RAMP = np.linspace(-1, 1, 16).reshape(4, 4)
CHECKS = np.indices((4, 4)).sum(axis=0) % 2 * 2.0 - 1


def maps(*each: np.ndarray) -> np.ndarray:
    """One map an image; that of class c has c added to each pixel, and class 2 the opposite sign."""
    return np.stack([[one, one + 1, -one] for one in each])


FIRST = Given(
    list("abcde"),
    [SURE, SURE, np.roll(SURE, 1), np.roll(SURE, 2), SURE],
    {PAIR: maps(RAMP, RAMP, RAMP, RAMP, RAMP)},
    labels=[0, 1, 1, -1, 0],
    failed=("e",),
)
# b to f in another order; its classes are written and ordered otherwise: nv, bkl, mel
SECOND = Given(
    list("fdceb"),
    [[0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]],
    {PAIR: np.roll(maps(CHECKS, RAMP, -2 * RAMP + 5, RAMP, CHECKS), 1, axis=1)},
    labels=[1, 0, 2, 1, 1],
    classes=("NV", "BKL", "Mel"),
)


def write(folder: Path, first: Given, second: Given) -> tuple[Results, Results]:
    return (
        open_run(write_results(folder / "first", first).dir),
        open_run(write_results(folder / "second", second).dir),
    )


@pytest.fixture
def compared(tmp_path: Path) -> Comparison:
    return compare(*write(tmp_path, FIRST, SECOND))


def test_the_records_that_both_have_are_compared_in_the_order_of_the_first(compared: Comparison) -> None:
    table = compared.table
    assert table["image_id"].tolist() == list("bcde")
    assert table["prediction"].tolist()[:3] == ["bkl", "mel", "nv"]
    assert table["prediction_other"].tolist() == ["bkl", "mel", "mel", "bkl"]
    assert table["prediction"].isna().tolist() == [False, False, False, True]
    assert table["agree"].tolist()[:3] == [True, True, False]
    assert table["agree"].isna().tolist() == [False, False, False, True]
    assert table["target"].tolist()[:3] == ["bkl", "mel", "nv"]
    assert table["label"].tolist() == ["mel", "mel", "nv", "bkl"], "d's is known to the second run alone"


def test_probabilities_are_compared_class_by_class(compared: Comparison) -> None:
    # d: (bkl, mel, nv) is 0.1, 0.1, 0.8 and 0.3, 0.5, 0.2
    np.testing.assert_allclose(
        compared.table["probability_difference"], [0, 0, 0.6, np.nan], rtol=1e-6, atol=1e-7
    )


def test_attributions_are_correlated_for_the_class_that_the_first_run_predicts(compared: Comparison) -> None:
    across = np.corrcoef(RAMP.ravel(), CHECKS.ravel())[0, 1]
    np.testing.assert_allclose(compared.table["correlation"], [across, -1, 1, np.nan], atol=1e-6)


def test_figures_of_the_whole_are_of_the_records_that_neither_run_failed(compared: Comparison) -> None:
    assert (compared.num_records, compared.num_failed) == (4, 1)
    assert compared.agreement == pytest.approx(2 / 3)
    assert compared.accuracy == pytest.approx(2 / 3), "c and d"
    assert compared.accuracy_other == pytest.approx(1 / 3), "c"
    known = compared.table["correlation"][:3]
    assert compared.mean_correlation == pytest.approx(known.mean())
    assert compared.correlation_quantiles == pytest.approx(
        {at: np.quantile(known, at) for at in (0.05, 0.25, 0.5, 0.75, 0.95)}
    )


def test_memory_for_one_record_at_a_time_gives_the_same(
    tmp_path: Path, compared: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "_BLOCK_BYTES", 1)
    again = compare(*(open_run(tmp_path / name) for name in ("first", "second")))
    assert again.table.equals(compared.table)


def test_records_in_another_order_within_one_shard_are_matched(tmp_path: Path, compared: Comparison) -> None:
    one_shard = write_results(tmp_path / "one shard", replace(SECOND, shard_size=5))
    again = compare(open_run(tmp_path / "first"), open_run(one_shard.dir))
    assert again.table.equals(compared.table)


def test_a_class_that_the_second_run_did_not_explain_has_no_correlation(tmp_path: Path) -> None:
    targets = [[1, 2], [2, 0], [1, 0], [0, 1], [1, 0]]  # of f, d, c, e, b: all but b's and d's class
    one = replace(SECOND, targets=targets, attributions={PAIR: SECOND.attributions[PAIR][:, :2]})
    table = compare(*write(tmp_path, FIRST, one)).table
    assert table["correlation"].isna().tolist() == [False, True, False, True]


def test_a_class_that_the_first_run_did_not_explain_has_none_either(tmp_path: Path) -> None:
    one = replace(FIRST, targets=[[2]] * 5, attributions={PAIR: FIRST.attributions[PAIR][:, :1]})
    table = compare(*write(tmp_path, one, SECOND)).table
    assert table["correlation"].isna().tolist() == [True, True, False, True]


def test_the_coarser_attribution_is_resized_to_the_finer(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    coarse, fine = random.normal(size=(5, 3, 4, 6)), random.normal(size=(5, 3, 8, 8))
    first = replace(FIRST, attributions={("cam", "c1"): coarse[..., :2], PAIR: coarse})
    second = replace(SECOND, attributions={("gradcam", "other"): fine})
    found = compare(*write(tmp_path, first, second))
    assert (found.method, found.layer, found.other_layer) == ("gradcam", "c2", "other")
    resized = cv2.resize(coarse[1, 0].astype(np.float32), (8, 8), interpolation=cv2.INTER_LINEAR)
    by_hand = np.corrcoef(resized.ravel(), fine[4, 1].astype(np.float32).ravel())[0, 1]
    np.testing.assert_allclose(found.table["correlation"][0], by_hand, rtol=1e-5)


def test_bilinear_weights_are_those_of_half_pixel_centres() -> None:
    np.testing.assert_allclose(resize_bilinear(np.array([[[0.0, 4.0]]]), (2, 4)), [[[0, 1, 3, 4]] * 2])
    maps = np.random.default_rng(2).random((3, 7, 5))
    theirs = np.stack([cv2.resize(one, (45, 60), interpolation=cv2.INTER_LINEAR) for one in maps])
    np.testing.assert_allclose(resize_bilinear(maps, (60, 45)), theirs, atol=1e-6)


def test_a_correlation_is_pearsons_whatever_the_scale_and_unknown_for_flat_or_missing_maps() -> None:
    flat, missing = np.full((4, 4), 0.1), np.where(RAMP > 0.9, np.nan, RAMP)
    ours = np.stack([RAMP, RAMP, RAMP, RAMP, flat, 1e-30 * RAMP]).astype(np.float32)
    theirs = np.stack([RAMP + 9, -3 * RAMP, flat, missing, RAMP, RAMP]).astype(np.float32)
    found = correlate(ours, theirs)
    np.testing.assert_allclose(found, [1, -1, np.nan, np.nan, np.nan, 1], rtol=1e-6)


def test_several_labels_agree_where_all_do_and_the_likeliest_is_the_target(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.6, 0.1], [0.2, 0.3, 0.4], [0.1, 0.9, 0.1]])
    first = Given(
        list("abc"), probabilities, {PAIR: maps(RAMP, RAMP, CHECKS)},
        labels=[[1, 1, 0], [0, 0, 0], [-1, 1, 0]], task="multilabel",
    )  # fmt: skip
    second = replace(first, probabilities=probabilities[:, ::-1], labels=None, classes=("NV", "MEL", "BKL"))
    second.probabilities = second.probabilities * [1, 1, 0.1]  # never bkl
    found = compare(*write(tmp_path, first, second))
    assert found.table["label"].tolist()[:2] == ["bkl|mel", ""]
    assert found.table["label"].isna().tolist() == [False, False, True]
    assert found.table["prediction"].tolist() == ["bkl|mel", "", "mel"]
    assert found.table["prediction_other"].tolist() == ["mel", "", "mel"]
    assert found.table["agree"].tolist() == [False, True, True]
    assert found.table["target"].tolist() == ["bkl", "nv", "mel"]
    np.testing.assert_allclose(found.table["correlation"], [-1, -1, 1], rtol=1e-6)
    assert (found.accuracy, found.accuracy_other) == (1, 0.5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"classes": ("bkl", "mel", "df")},
            r"first has the classes bkl, mel, nv; \S*second has the classes bkl, mel, df",
        ),
        (
            {"image_ids": list("vwxyz")},
            r"No record in common: \S*first has 5 \(a, b, c, …\); \S*second has 5 \(v",
        ),
        ({"attributions": {("cam", "c2"): maps(*[RAMP] * 5)}}, "No method in common: .*first has gradcam; "),
        (
            {"task": "multilabel", "labels": None},
            "first is multiclass, .*second is multilabel: one predicts a single class",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_named(tmp_path: Path, change: dict[str, object], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        compare(*write(tmp_path, FIRST, replace(FIRST, **change)))


def test_a_method_or_layer_that_one_run_lacks_is_said(tmp_path: Path) -> None:
    results = write(tmp_path, FIRST, SECOND)
    with pytest.raises(RequestError, match="first: no cam at any layer. There is: gradcam at c2"):
        compare(*results, method="cam")
    with pytest.raises(RequestError, match="first: no gradcam at c1"):
        compare(*results, layer="c1")


def test_the_display_sums_up_and_escapes(tmp_path: Path, compared: Comparison) -> None:
    text = repr(compared)
    assert "comparison of run id-first with run id-second" in text
    assert "records in both: 4, 1 of them failed" in text
    assert "same prediction: 66.7%" in text
    assert "accuracy: 66.7% (first), 33.3% (second)" in text
    assert "correlation of gradcam at c2: mean " in text
    html = replace(compared, layer="<c2>")._repr_html_()
    assert "<td" in html
    assert "66.7%" in html
    assert "&lt;c2&gt;" in html
    assert "<c2>" not in html


def test_figures_that_nobody_knows_are_unknown(tmp_path: Path) -> None:
    first = replace(FIRST, failed=tuple("abcde"))
    found = compare(*write(tmp_path, first, first))
    assert np.isnan([found.agreement, found.accuracy, found.mean_correlation]).all()
    assert "same prediction: unknown" in repr(found)
