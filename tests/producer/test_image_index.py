"""Finding the file of every image id."""

from pathlib import Path

import pytest

from producer.image_index import ImageOptions, find_images
from shared.errors import ImageFolderError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def find(
    ids: list[str], *dirs: Path, pattern: str | None = None, follow_links: bool = False
) -> list[str | None]:
    return find_images(ids, ImageOptions(dirs, pattern, follow_links))


def test_files_are_found_in_the_order_of_the_ids(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", "c.Jpeg", "d.tif")
    assert find(["c", "a", "d", "b"], tmp_path) == [
        f"{tmp_path}/c.Jpeg", f"{tmp_path}/a.jpg", None, f"{tmp_path}/b.PNG",
    ]  # fmt: skip


def test_an_id_may_have_its_extension_and_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.png", "two/a.png", "b.c.jpg")
    assert find(["one/a", "two/a.png", "b.c"], tmp_path) == [
        f"{tmp_path}/one/a.png", f"{tmp_path}/two/a.png", f"{tmp_path}/b.c.jpg",
    ]  # fmt: skip


def test_two_folders_and_one_level_below_are_searched(tmp_path: Path) -> None:
    first = touch(tmp_path / "HAM10000_images_part_1", "a.jpg")
    second = touch(tmp_path / "HAM10000_images_part_2", "b.jpg", "deep/deeper/c.jpg")
    assert find(["a", "b", "c"], first, second) == [f"{first}/a.jpg", f"{second}/b.jpg", None]
    assert find(["a", "b"], tmp_path) == [f"{first}/a.jpg", f"{second}/b.jpg"]


def test_the_same_folder_named_twice_is_no_conflict(tmp_path: Path) -> None:
    touch(tmp_path, "part/a.jpg")
    assert find(["a"], tmp_path, tmp_path, tmp_path / "part") == [f"{tmp_path}/part/a.jpg"]


@pytest.mark.parametrize("names", [("one/a.jpg", "two/a.jpg"), ("a.jpg", "a.png")])
def test_an_id_found_twice_names_both_files(tmp_path: Path, names: tuple[str, str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(ImageFolderError) as caught:
        find(["a"], tmp_path)
    assert "image 'a' is there twice" in str(caught.value)
    assert all(f"{tmp_path}/{name}" in str(caught.value) for name in names)


def test_doubles_of_images_nobody_asked_for_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path, "one/b.jpg", "two/b.jpg", "a.jpg")
    assert find(["a"], tmp_path) == [f"{tmp_path}/a.jpg"]


def test_a_pattern_says_what_the_files_are_called(tmp_path: Path) -> None:
    touch(tmp_path, "a_crop.tif", "a.jpg", "b_crop_crop.tif")
    assert find(["a", "b_crop", "a_crop"], tmp_path, pattern="{image_id}_crop.tif") == [
        f"{tmp_path}/a_crop.tif", f"{tmp_path}/b_crop_crop.tif", None,
    ]  # fmt: skip


def test_dots_of_a_pattern_mean_themselves(tmp_path: Path) -> None:
    touch(tmp_path, "a.b.png", "axb.png", "c.b.png")
    assert find(["a", "c"], tmp_path, pattern="{image_id}.b.png") == [
        f"{tmp_path}/a.b.png", f"{tmp_path}/c.b.png",
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["*.tif", "x/{image_id}.tif", "{image_id}{image_id}"])
def test_a_pattern_needs_one_image_id(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ImageFolderError, match="a file name with one {image_id} in it is wanted"):
        find(["a"], tmp_path, pattern=pattern)


def test_no_such_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ImageFolderError, match="gone: the image folder cannot be read: No such file.*--images"
    ):
        find(["a"], tmp_path / "gone")


def test_a_file_is_no_image_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(ImageFolderError, match=r"a\.jpg: the image folder cannot be read: Not a directory"):
        find(["a"], tmp_path / "a.jpg")


def test_a_folder_without_a_single_image_of_the_set_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg")
    with pytest.raises(ImageFolderError, match=r"none of the 2 images, first 'a', is in .*--id-column"):
        find(["a", "b"], tmp_path)


def test_a_folder_that_is_called_like_an_image_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    touch(tmp_path, "b.jpg")
    assert find(["a", "b"], tmp_path) == [None, f"{tmp_path}/b.jpg"]


def test_links_that_lead_out_are_followed_only_on_request(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside", "a.jpg", "folder/b.jpg")
    images = touch(tmp_path / "images", "c.jpg")
    (images / "a.jpg").symlink_to(outside / "a.jpg")
    with pytest.raises(
        ImageFolderError, match=r"a\.jpg: the link leads out .*outside/a\.jpg.*--follow-links"
    ):
        find(["a"], images)
    assert find(["a"], images, follow_links=True) == [f"{images}/a.jpg"]
    (images / "a.jpg").unlink()
    (images / "folder").symlink_to(outside / "folder")
    with pytest.raises(ImageFolderError, match="folder: the link leads out"):
        find(["b"], images)
    assert find(["b"], images, follow_links=True) == [f"{images}/folder/b.jpg"]


def test_links_within_the_folder_and_to_the_folder_are_fine(tmp_path: Path) -> None:
    images = touch(tmp_path / "images", "a.jpg")
    (images / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "linked").symlink_to(images)
    linked = tmp_path / "linked"
    assert find(["a", "b"], linked) == [f"{linked}/a.jpg", f"{linked}/b.jpg"]
