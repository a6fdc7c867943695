import os
from pathlib import Path

import pytest

from camshard.output import file_stems, replacing


def test_an_id_that_can_be_a_file_name_is_one() -> None:
    assert file_stems(["ISIC_0034524", "00000013_005.png", "a+b=c@d"]) == [
        "ISIC_0034524",
        "00000013_005.png",
        "a+b=c@d",
    ]


@pytest.mark.parametrize(
    "image_id", ["a/b", "../../etc/passwd", ".hidden", "a b", "a\0", "NUL", "", "ü", "x" * 300]
)
def test_other_ids_become_safe_names_that_are_always_the_same(image_id: str) -> None:
    (stem,) = file_stems([image_id])
    assert stem == file_stems(["other", image_id])[1] != image_id
    assert os.path.basename(stem) == stem
    assert stem.isascii()
    assert not stem.startswith(".")
    assert len(f"{stem}.png") < 255


def test_names_differ_however_alike_the_ids_are() -> None:
    ids = ["a/b", "a_b", "a:b", "A_B", "a b", "x" * 300, "x" * 301]
    stems = file_stems(ids)
    assert len({stem.casefold() for stem in stems}) == len(ids)


def test_what_was_there_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as new_path:
        new_path.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with replacing(path) as new_path:
        new_path.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["table.csv"]
