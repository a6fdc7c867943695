"""What a notebook shows of a run."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from given_results import Given, write_results

from camshard.notebook import judge, results_html
from camshard.results import open_run

SHARE = np.array([0.9, 0.7, 0.8, 0.6, 0.95])  # of the predicted class
PREDICTED = np.array([0, 1, 2, 0, 1])
PROBABILITIES = np.where(np.eye(3)[PREDICTED] > 0, SHARE[:, None], (1 - SHARE[:, None]) / 2)
HOT = np.tile(np.eye(4), (5, 3, 1, 1))
ATTRIBUTIONS = {("cam", "c2"): HOT, ("gradcam", "c2"): HOT, ("gradcam", "c1"): np.tile(HOT, (2, 3))}
GIVEN = Given(list("abcde"), PROBABILITIES, ATTRIBUTIONS, labels=[0, 0, 2, -1, 1], failed=("e",))


def show(folder: Path, given: Given = GIVEN) -> str:
    return results_html(open_run(write_results(folder / "run", given).dir, partial=True))


def text_of(html: str) -> str:
    """Return what is read, without tags; raises where a tag is not closed."""
    found, opened = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("img", "br", "hr"):
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

        def handle_data(self, data: str) -> None:
            if opened[-1] != "style":
                found.append(data)

    Reader().feed(html)
    assert not opened
    return " ".join(" ".join(found).split())


def pictures(html: str) -> list[np.ndarray]:
    """Return the inline pictures, RGB."""
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert html.count("<img") == len(encoded)
    return [
        cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        for one in encoded
    ]


@pytest.fixture
def with_images(tmp_path: Path) -> Given:
    """Grey images of 40 × 60 pixels; c has lost its file."""
    for image_id in "abd":
        cv2.imwrite(str(tmp_path / f"{image_id}.jpg"), np.full((40, 60, 3), 100, np.uint8))
    return replace(GIVEN, image_dir=tmp_path)


def test_facts_say_what_the_run_is_of(tmp_path: Path) -> None:
    text = text_of(show(tmp_path))
    assert "camshard run id-run" in text
    assert f"directory {tmp_path / 'run'}" in text
    assert "model.keras, multiclass, 3 classes, 32 × 32 pixels" in text
    assert "records 5; failed: 1 missing" in text
    assert "accuracy 66.7% of 3 labelled records" in text
    assert "explained all classes, logits" in text
    assert "features" not in text


def test_a_run_of_probabilities_says_so(tmp_path: Path) -> None:
    run = write_results(tmp_path / "run", GIVEN)
    results = open_run(run.dir)
    results.run = replace(run, request=replace(run.request, score="probability"))
    assert "explained all classes, probabilities" in text_of(results_html(results))


def test_methods_and_layers_are_shown_with_the_size_of_their_attributions(tmp_path: Path) -> None:
    text = text_of(show(tmp_path))
    assert "layer CAM Grad-CAM c2 4 × 4 4 × 4 c1 8 × 12" in text


def test_classes_are_counted_by_label_and_by_prediction(tmp_path: Path) -> None:
    text = text_of(show(tmp_path))
    assert "class labels predictions bkl 2 2 mel 1 1 nv 1 1" in text


def test_of_many_classes_the_most_frequent_are_shown(tmp_path: Path) -> None:
    probabilities = np.eye(40)[[39, 39, 7]]
    given = Given(
        list("abc"), probabilities, {("cam", "c2"): np.ones((3, 40, 2, 2))}, labels=[39, 7, 7],
        classes=tuple(f"class{number}" for number in range(40)),
    )  # fmt: skip
    text = text_of(show(tmp_path, given))
    assert "predictions class7 2 1 class39 1 2 class0 0 0" in text
    assert "class11" not in text
    assert "and 28 classes that come less often" in text


def test_right_and_wrong_predictions_are_drawn_the_most_confident_first(with_images: Given) -> None:
    html = show(with_images.image_dir, with_images)
    text = text_of(html)
    assert "Most confident predictions: Grad-CAM of the predicted class at c1" in text
    captions = text[text.index("bkl 90%") :].split()
    assert " ".join(captions) == "bkl 90% right a bkl 60% d mel 70% wrong, label bkl b"
    assert len(pictures(html)) == 3, "neither c, whose file is gone, nor e, which failed"


def test_the_pictures_are_the_overlays(with_images: Given) -> None:
    shown = pictures(show(with_images.image_dir, with_images))[0]
    results = open_run(with_images.image_dir / "run")
    assert shown.shape == (120, 180, 3)
    np.testing.assert_allclose(shown[::3, ::3], results.overlay("a"), atol=12)  # resized threefold
    assert np.ptp(shown) > 100


def test_a_run_whose_images_are_all_gone_is_shown_without_any(tmp_path: Path) -> None:
    html = show(tmp_path)
    assert pictures(html) == []
    assert "Most confident" not in html


def test_missing_shards_are_said(tmp_path: Path) -> None:
    run = write_results(tmp_path / "run", GIVEN)
    run.shard_path(1).unlink()
    text = text_of(results_html(open_run(run.dir, partial=True)))
    assert "records 3 of 5; 1 of 3 shards are missing ; failed: 1 missing" in text


def test_no_text_from_data_is_markup(tmp_path: Path) -> None:
    evil = "<script>alert('&')</script>"
    classes = (f"{evil}1", f"{evil}2", f"{evil}3")
    ids = [f"<b onload=x>{letter}" for letter in "abcde"]
    folder = tmp_path / "<i>&amp;"
    folder.mkdir()
    for image_id in ids:
        cv2.imwrite(str(folder / f"{image_id}.jpg"), np.full((9, 9, 3), 100, np.uint8))
    layer = "<u>layer</u>"
    given = replace(
        GIVEN, image_ids=ids, classes=classes, image_dir=folder, failed=(), attributions={("cam", layer): HOT}
    )
    html = show(folder, given)
    for tag in ("<script", "<b ", "<i>", "<u>"):
        assert tag not in html
    text = text_of(html)
    for part in (*classes, ids[0], layer, str(folder)):
        assert part in text
    assert f"wrong, label {classes[0]}" in text
    assert len(pictures(html)) == 5


def test_unlabelled_runs_have_neither_accuracy_nor_marks(with_images: Given) -> None:
    html = show(with_images.image_dir, replace(with_images, labels=None))
    text = text_of(html)
    assert "accuracy" not in text
    assert "right" not in text
    assert "wrong" not in text
    assert len(pictures(html)) == 3


def test_several_labels_are_counted_each_and_judged_by_the_likeliest(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.6, 0.1], [0.2, 0.3, 0.4], [0.1, 0.9, 0.1]])
    labels = [[1, 0, 0], [0, 1, 0], [-1, -1, -1]]
    given = Given(list("abc"), probabilities, {("cam", "c2"): HOT[:3]}, labels=labels, task="multilabel")
    run = write_results(tmp_path / "run", given)
    verdicts = judge(open_run(run.dir))
    assert verdicts.class_index.tolist() == [0, 2, 1]
    assert verdicts.right.tolist() == [1, 0, -1]
    np.testing.assert_allclose(verdicts.confidence, [0.9, 0.4, 0.9], rtol=1e-6)
    text = text_of(results_html(open_run(run.dir)))
    assert "likeliest prediction is right 50.0% of 2 labelled records" in text
    assert "bkl 1 1 mel 1 2 nv 0 0" in text


def test_saved_features_are_mentioned(tmp_path: Path) -> None:
    text = text_of(show(tmp_path, replace(GIVEN, features=np.ones((5, 4)))))
    assert "features saved: nearest(image_id)" in text
