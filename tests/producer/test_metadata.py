"""The metadata CSV: what is read from it, and what is refused with which words."""

from dataclasses import replace
from pathlib import Path

import pytest

from producer.metadata import Metadata, MetadataOptions, read_metadata, select_rows
from shared.errors import MetadataError

OPTIONS = MetadataOptions(
    id_column="image_id",
    label_column=None,
    label_columns=(),
    group_column="lesion_id",
    keep_duplicates=False,
    encoding="utf-8-sig",
)


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    return tmp_path / "set.csv"


def read(csv_path: Path, text: str | bytes, **options: object) -> Metadata:
    csv_path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_metadata(csv_path, replace(OPTIONS, **options))


def ids_of(metadata: Metadata) -> list[str]:
    return metadata.frame["image_id"].tolist()


def test_the_whole_ham10000_csv_is_read_with_defaults(shared_data: Path) -> None:
    metadata = read_metadata(shared_data / "ham10000" / "HAM10000_metadata.csv", OPTIONS)
    assert (len(metadata.frame), metadata.label_columns) == (10_015, ("dx",))
    assert ids_of(metadata)[:2] == ["ISIC_0027419", "ISIC_0025030"]
    assert metadata.frame["dx"].value_counts()["nv"] == 6_705
    assert metadata.frame["age"].isna().sum() == 57


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_comma_tab_and_semicolon_are_told_apart(csv_path: Path, delimiter: str) -> None:
    rows = [["image_id", "dx", "note"], ["a", "mel", "1"], ["b", "nv", "2"]]
    metadata = read(csv_path, "\n".join(map(delimiter.join, rows)))
    assert metadata.frame.to_dict("list") == {"image_id": ["a", "b"], "dx": ["mel", "nv"], "note": [1, 2]}


def test_a_byte_order_mark_and_spaces_do_not_change_names(csv_path: Path) -> None:
    metadata = read(csv_path, b"\xef\xbb\xbfimage_id, dx\r\n a , mel\r\n")
    assert metadata.frame.to_dict("list") == {"image_id": ["a"], "dx": ["mel"]}


def test_latin_1_is_read_where_it_is_named_and_else_refused(csv_path: Path) -> None:
    text = "image_id,dx\na,nävus\n".encode("latin-1")
    assert read(csv_path, text, encoding="latin-1").frame["dx"].tolist() == ["nävus"]
    with pytest.raises(MetadataError, match=r"set\.csv: not utf-8-sig text.*--encoding"):
        read(csv_path, text)


def test_a_wrong_encoding_is_refused(csv_path: Path) -> None:
    with pytest.raises(MetadataError, match="not utf-16 text.*--encoding: utf-8, utf-16, latin-1"):
        read(csv_path, "image_id,dx\na,mel\n", encoding="utf-16")


@pytest.mark.parametrize("encoding", ["klingon", "base64"])
def test_an_encoding_that_is_none_is_refused_with_some_that_are(csv_path: Path, encoding: str) -> None:
    with pytest.raises(MetadataError, match=f"^--encoding '{encoding}': no text encoding.*utf-8, utf-16, la"):
        read(csv_path, "image_id,dx\na,mel\n", encoding=encoding)


def test_ids_and_labels_stay_text(csv_path: Path) -> None:
    metadata = read(csv_path, "image_id,dx,grade\n007,1,3\n010,NA,\n")
    assert ids_of(metadata) == ["007", "010"]
    assert metadata.frame["dx"].tolist() == ["1", "NA"]
    assert metadata.frame["grade"].tolist()[0] == 3.0


def test_cells_that_are_no_numbers_stay_as_they_stand(csv_path: Path) -> None:
    frame = read(csv_path, "image_id,patient,site,age\na,007,NA,80\nb,012,null,NA\nc,,,nan\n").frame
    assert frame["patient"].tolist()[:2] == ["007", "012"]
    assert frame["site"].tolist()[:2] == ["NA", "null"]
    assert frame.isna().to_numpy().tolist() == [[False] * 4, [False] * 3 + [True], [False] + [True] * 3]
    assert (frame["age"].dtype, frame["age"][0]) == (float, 80)


@pytest.mark.parametrize("group_column", ["lesion_id", "patient"])
def test_groups_are_text_even_where_they_look_like_numbers(csv_path: Path, group_column: str) -> None:
    frame = read(csv_path, f"image_id,{group_column}\na,7\nb,12\n", group_column=group_column).frame
    assert frame[group_column].tolist() == ["7", "12"]


def test_a_set_without_labels_has_no_label_column(csv_path: Path) -> None:
    assert read(csv_path, "image_id\na\nb\n").label_columns == ()


def test_a_missing_column_is_named_with_those_there_are(csv_path: Path) -> None:
    with pytest.raises(MetadataError) as caught:
        read(csv_path, "image,dx,age\na,mel,3\n")
    assert str(caught.value) == (
        f"{csv_path}: column 'image_id' is not there. Columns: image, dx, age. "
        "Name the right one with --id-column."
    )
    with pytest.raises(MetadataError, match="column 'diagnosis' is not there.*with --label-column"):
        read(csv_path, "image_id,dx\na,mel\n", label_column="diagnosis")
    with pytest.raises(MetadataError, match=r"column 'NV' is not there.*with --label-columns\."):
        read(csv_path, "image_id,MEL\na,1\n", label_columns=("MEL", "NV"))


def test_duplicate_ids_are_counted_and_the_first_few_named(csv_path: Path) -> None:
    rows = "image_id,dx\n" + "".join(f"{one},mel\n" for one in "abcdeabcda")
    with pytest.raises(MetadataError, match="5 rows repeat an image id: a, b, c, ….*--keep-duplicates first"):
        read(csv_path, rows)


def test_the_first_of_each_duplicate_is_kept_on_request(csv_path: Path) -> None:
    metadata = read(csv_path, "image_id,dx\na,mel\nb,nv\na,nv\n", keep_duplicates=True)
    assert metadata.frame.to_dict("list") == {"image_id": ["a", "b"], "dx": ["mel", "nv"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
        ("image_id,dx\n", "no rows below the header"),
        ("image_id,dx\na,mel\n,nv\n  ,nv\n", "2 rows without an image id, first in lines 3, 4"),
        ("image_id,dx,dx\na,mel,nv\n", "a column twice: 'dx'"),
        ("image_id,dx\na,mel,lost\nb,nv,too\n", r"more cells than the header has columns \(2\)"),
        ("image_id,dx\na,mel\nb,nv,lost\n", "cannot be read as CSV: .*line 3, saw 3"),
        ('image_id,dx\n"a,mel\n', "cannot be read as CSV: .*EOF inside string"),
        ("x" * 200_000, "the header cannot be read as CSV: field larger"),
    ],
)
def test_a_csv_that_is_none_is_refused(csv_path: Path, text: str, message: str) -> None:
    with pytest.raises(MetadataError, match=rf"set\.csv: .*{message}"):
        read(csv_path, text)


def test_a_csv_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataError, match=r"no\.csv: the metadata CSV cannot be read: No such file"):
        read_metadata(tmp_path / "no.csv", OPTIONS)


@pytest.mark.parametrize(
    "image_id",
    ["../x", "/etc/passwd", "a/../b", "a/b/c", "a\\b", ".", "..", "/x", "a/", "a//b", "./a", "a/."],
)
def test_ids_with_path_tricks_are_refused(csv_path: Path, image_id: str) -> None:
    with pytest.raises(MetadataError) as caught:
        read(csv_path, f"image_id,dx\nfine,mel\n{image_id},mel\n")
    assert f"1 image ids are no plain file names, first {image_id!r}" in str(caught.value)


def test_an_id_may_name_the_folder_it_is_in(csv_path: Path) -> None:
    text = "image_id\npart_1/a.b..c\n.a/..b\n"
    assert ids_of(read(csv_path, text)) == ["part_1/a.b..c", ".a/..b"]


@pytest.fixture
def metadata(csv_path: Path) -> Metadata:
    rows = ["image_id,dx,age,site", "a,mel,80,back", "b,nv,80.5,back", "c,mel,,face", "d,bkl,7,lower leg"]
    return read(csv_path, "\n".join(rows))


@pytest.mark.parametrize(
    ("where", "left"),
    [
        (("dx=mel",), "ac"),
        (("dx=mel", "dx=nv"), "abc"),
        (("dx=mel", "site=back"), "a"),
        (("age=80",), "a"),
        (("age=80.5",), "b"),
        (("site = lower leg",), "d"),
    ],
)
def test_where_keeps_the_rows_that_match_every_column(
    metadata: Metadata, where: tuple[str, ...], left: str
) -> None:
    assert select_rows(metadata, where, None)["image_id"].tolist() == list(left)


def test_where_refuses_what_it_cannot_mean(metadata: Metadata) -> None:
    with pytest.raises(
        MetadataError, match="--where sex: .* no such column. Columns: image_id, dx, age, site"
    ):
        select_rows(metadata, ("sex=f",), None)
    with pytest.raises(MetadataError, match="--where 'mel': COLUMN=VALUE is wanted"):
        select_rows(metadata, ("mel",), None)
    with pytest.raises(MetadataError, match="no row is left of 4 after --where and --ids"):
        select_rows(metadata, ("dx=vasc",), None)


def test_ids_keep_the_order_of_the_csv(metadata: Metadata, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\ufeffc\n\n a \n", encoding="utf-8")
    assert select_rows(metadata, (), tmp_path / "ids.txt")["image_id"].tolist() == ["a", "c"]


def test_ids_that_the_csv_does_not_have_are_counted_and_named(metadata: Metadata, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\nz\ny\n")
    with pytest.raises(MetadataError, match=r"2 ids are not in .*set\.csv, first y, z\."):
        select_rows(metadata, (), tmp_path / "ids.txt")
    with pytest.raises(MetadataError, match=r"--ids .*no\.txt: cannot be read"):
        select_rows(metadata, (), tmp_path / "no.txt")
