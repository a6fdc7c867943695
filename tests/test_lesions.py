"""The made-up lesions: what the demo and its pointing measure stand on."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from camshard.lesions import LOOKS, make_lesion_set, split_lesions

COUNT = 28


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lesions")
    make_lesion_set(folder, count=COUNT, seed=3)
    return folder


@pytest.fixture(scope="module")
def metadata(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metadata.csv")


@pytest.fixture
def many_lesions_csv(tmp_path: Path) -> Path:
    """300 images of 200 lesions, 100 images a class; every second lesion has two images."""
    lesions = [number for number in range(200) for _ in range(1 + number % 2)]
    frame = pd.DataFrame({"lesion_id": [f"L{number}" for number in lesions]})
    frame["image_id"] = [f"I{number}" for number in range(len(lesions))]
    frame["dx"] = [("mel", "nv")[number >= 100] for number in lesions]
    frame.to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path / "metadata.csv"


def read_mask(folder: Path, image_id: str) -> np.ndarray:
    return cv2.imread(str(folder / "masks" / f"{image_id}_segmentation.png"), cv2.IMREAD_UNCHANGED)


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    make_lesion_set(tmp_path / "again", count=COUNT, seed=3)
    make_lesion_set(tmp_path / "other", count=COUNT, seed=4)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(names) == 2 * COUNT + 1
    for name in names:
        first = (folder / name).read_bytes()
        assert first == (tmp_path / "again" / name).read_bytes(), name
        assert first != (tmp_path / "other" / name).read_bytes(), name


def test_the_metadata_have_the_columns_and_classes_of_ham10000(metadata: pd.DataFrame) -> None:
    assert list(metadata.columns) == [
        "lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization",
    ]  # fmt: skip
    assert metadata["image_id"].tolist() == [f"DEMO_{number:07d}" for number in range(1, COUNT + 1)]
    assert metadata["dx"].value_counts().to_dict() == dict.fromkeys(LOOKS, 4) | {"nv": 5, "df": 3}
    assert set(LOOKS) == {"akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"}


def test_the_images_of_a_lesion_share_its_row_but_not_their_pixels(
    folder: Path, metadata: pd.DataFrame
) -> None:
    views = metadata.groupby("lesion_id").filter(lambda rows: len(rows) > 1)
    assert 0 < views["lesion_id"].nunique() < metadata["lesion_id"].nunique()
    for _, rows in views.groupby("lesion_id"):
        assert len(rows.drop(columns="image_id").drop_duplicates()) == 1
        masks = [read_mask(folder, image_id) for image_id in rows["image_id"]]
        assert (masks[0] != masks[1]).any()


def test_masks_fit_their_images_hold_0_and_255_and_have_a_lesion_of_sound_size(
    folder: Path, metadata: pd.DataFrame
) -> None:
    for image_id in metadata["image_id"]:
        image = cv2.imread(str(folder / "images" / f"{image_id}.jpg"), cv2.IMREAD_UNCHANGED)
        mask = read_mask(folder, image_id)
        assert image.shape == (450, 600, 3)
        assert mask.shape == (450, 600)
        assert np.unique(mask).tolist() == [0, 255]
        assert 0.055 < (mask > 0).mean() < 0.3
        assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any()


def test_lesions_differ_from_the_skin_around_them(folder: Path, metadata: pd.DataFrame) -> None:
    for image_id in metadata["image_id"]:
        image = cv2.imread(str(folder / "images" / f"{image_id}.jpg")).astype(np.float32)
        inside = read_mask(folder, image_id) > 0
        near = cv2.dilate(inside.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
        difference = np.abs(image[inside].mean(0) - image[near & ~inside].mean(0))
        assert difference.max() > 10, image_id


def test_lesions_do_not_always_lie_in_the_middle(folder: Path, metadata: pd.DataFrame) -> None:
    in_the_middle = [read_mask(folder, image_id)[225, 300] > 0 for image_id in metadata["image_id"]]
    assert np.mean(in_the_middle) < 0.7


def test_a_lesion_never_crosses_the_split_and_no_image_is_lost(many_lesions_csv: Path) -> None:
    train, held_out = split_lesions(many_lesions_csv, held_out=0.4, seed=1)
    assert set(train["lesion_id"]).isdisjoint(held_out["lesion_id"])
    assert sorted([*train["image_id"], *held_out["image_id"]]) == sorted(f"I{n}" for n in range(300))


def test_the_split_holds_out_the_same_share_of_every_class(many_lesions_csv: Path) -> None:
    _, held_out = split_lesions(many_lesions_csv, held_out=0.4, seed=1)
    counts = held_out["dx"].value_counts()
    assert counts["mel"] == pytest.approx(60, abs=1)
    assert counts["nv"] == pytest.approx(60, abs=1)


def test_the_split_depends_on_the_seed_alone(many_lesions_csv: Path) -> None:
    first, again, other = (split_lesions(many_lesions_csv, 0.4, seed)[1] for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert set(first["lesion_id"]) != set(other["lesion_id"])
