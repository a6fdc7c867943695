"""Label columns to class indices: by name, never by place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from producer.labels import class_names, read_labels
from producer.metadata import Metadata, MetadataOptions, read_metadata
from shared.errors import MetadataError
from shared.model_spec import InputSpec, ModelSpec

OPTIONS = MetadataOptions(
    id_column="image_id",
    label_column=None,
    label_columns=(),
    group_column="lesion_id",
    keep_duplicates=False,
    encoding="utf-8-sig",
)
MULTICLASS = ModelSpec("multiclass", ("bkl", "mel", "nv"), InputSpec((4, 4)))
MULTILABEL = replace(MULTICLASS, task="multilabel")


def metadata_of(tmp_path: Path, *lines: str, **options: object) -> Metadata:
    (tmp_path / "set.csv").write_text("\n".join(lines) + "\n")
    return read_metadata(tmp_path / "set.csv", replace(OPTIONS, **options))


def labels_of(
    metadata: Metadata, spec: ModelSpec, separator: str | None = None, no_label: tuple[str, ...] = ()
) -> np.ndarray:
    return read_labels(metadata, metadata.frame, spec, separator, no_label)


def test_labels_match_classes_whatever_their_case(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,dx", "a,NV", "b, mel", "c,", "d,Bkl")
    labels = labels_of(metadata, MULTICLASS)
    assert labels.dtype == np.int16
    np.testing.assert_array_equal(labels, [2, 1, -1, 0])


def test_a_label_outside_the_classes_is_named_and_counted(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,dx", "a,mel", "b,scc", "c,scc", "d,angioma")
    text = (
        r"column 'dx': 'angioma', 'scc' is none of the classes bkl, mel, nv \(3 rows\).*--classes.*--no-label"
    )
    with pytest.raises(MetadataError, match=text):
        labels_of(metadata, MULTICLASS)


def test_what_means_no_class_is_an_unknown_label(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,dx", "a,mel", "b,No Finding")
    np.testing.assert_array_equal(labels_of(metadata, MULTICLASS, no_label=("no finding",)), [1, -1])


def test_a_set_without_labels_has_unknown_ones(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id", "a", "b")
    np.testing.assert_array_equal(labels_of(metadata, MULTICLASS), [-1, -1])
    np.testing.assert_array_equal(labels_of(metadata, MULTILABEL), np.full((2, 3), -1))
    assert class_names(metadata, None, ()) == ()


def test_a_column_of_blanks_is_unknown_labels(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,dx", "a,", "b,")
    np.testing.assert_array_equal(labels_of(metadata, MULTICLASS), [-1, -1])
    assert class_names(metadata, None, ()) == ()


def test_a_multi_label_column_is_split(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,dx", "a,nv|Mel", "b,none", "c,", "d, bkl | nv |bkl")
    labels = labels_of(metadata, MULTILABEL, "|", ("none",))
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels, [[0, 1, 1], [0, 0, 0], [-1, -1, -1], [1, 0, 1]])
    with pytest.raises(MetadataError, match=r"--label-separator '\|': the task is multiclass"):
        labels_of(metadata, MULTICLASS, "|", ("none",))


def test_one_hot_columns_are_matched_by_name_never_by_place(tmp_path: Path) -> None:
    metadata = metadata_of(
        tmp_path, "image_id,NV,x,BKL,MEL", "a,1.0,9,0,0", "b,0,9,1,0", "c,0,9,0,1", "d,0,9,0,0", "e,,9,,",
        label_columns=("NV", "BKL", "MEL"),
    )  # fmt: skip
    np.testing.assert_array_equal(labels_of(metadata, MULTICLASS), [2, 0, 1, -1, -1])
    np.testing.assert_array_equal(
        labels_of(metadata, MULTILABEL), [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [-1, -1, -1]]
    )


def test_a_class_is_tied_to_a_column_of_another_name(tmp_path: Path) -> None:
    metadata = metadata_of(
        tmp_path, "image_id,melanoma,naevus,bkl", "a,1,0,0", "b,0,1,0",
        label_columns=("mel=melanoma", "nv=naevus", "bkl"),
    )  # fmt: skip
    np.testing.assert_array_equal(labels_of(metadata, MULTICLASS), [1, 2])
    assert class_names(metadata, None, ()) == ("bkl", "mel", "nv")


def test_one_hot_columns_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,MEL,NV,SCC", "a,1,0,0", label_columns=("MEL", "NV", "SCC"))
    text = "--label-columns MEL, NV, SCC do not match the classes bkl, mel, nv by name.*class=COLUMN"
    with pytest.raises(MetadataError, match=text):
        labels_of(metadata, MULTICLASS)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("b,0.7,0.3,0", "line 3: one-hot columns must hold 0 and 1"),
        ("b,yes,0,0", "one-hot columns must hold 0 and 1"),
        ("b,1,1,0", "1 rows have several labels, first 'b'.*--task multilabel"),
    ],
)
def test_one_hot_values_that_are_none_are_refused(tmp_path: Path, row: str, text: str) -> None:
    metadata = metadata_of(
        tmp_path, "image_id,mel,nv,bkl", "a,1,0,0", row, label_columns=("mel", "nv", "bkl")
    )
    with pytest.raises(MetadataError, match=text):
        labels_of(metadata, MULTICLASS)


def test_classes_are_the_sorted_labels_of_the_whole_csv(tmp_path: Path) -> None:
    metadata = metadata_of(tmp_path, "image_id,dx", "a,nv", "b,10", "c,9", "d,", "e,none", "f,nv")
    assert class_names(metadata, None, ("NONE",)) == ("10", "9", "nv")
    split = metadata_of(tmp_path, "image_id,dx", "a,nv|mel", "b,mel|bkl", "c,No Finding")
    assert class_names(split, "|", ("No Finding",)) == ("bkl", "mel", "nv")


def test_the_isic_one_hot_truth_gives_the_labels_of_its_columns(shared_data: Path) -> None:
    names = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    path = shared_data / "isic2018_test" / "ISIC2018_Task3_Test_GroundTruth.csv"
    metadata = read_metadata(path, replace(OPTIONS, id_column="image", label_columns=names))
    spec = replace(MULTICLASS, classes=("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"))
    labels = labels_of(metadata, spec)
    assert len(labels) == 311
    for image_id, label in zip(metadata.frame["image"], labels, strict=True):
        row = metadata.frame.set_index("image").loc[image_id]
        assert row[spec.classes[label].upper()] == 1


def test_chest_x_rays_keep_all_their_labels(shared_data: Path) -> None:
    metadata = read_metadata(
        shared_data / "chest_xray" / "metadata.csv",
        replace(OPTIONS, id_column="Image Index", label_column="Finding Labels"),
    )
    classes = class_names(metadata, "|", ("No Finding",))
    labels = labels_of(metadata, replace(MULTILABEL, classes=classes), "|", ("No Finding",))
    of_first = [name for name, on in zip(classes, labels[0], strict=True) if on]
    assert of_first == ["Emphysema", "Infiltration", "Pleural_Thickening", "Pneumothorax"]
    np.testing.assert_array_equal(labels[1], 0)
