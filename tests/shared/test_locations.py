"""Paths and URLs: what is read, what is refused, and what texts show."""

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.locations import Url, absolute, location_text, parse_location, relative_to, without_secrets

SIGNED = "https://host/models/resnet.keras?X-Amz-Signature=s3cr3t&X-Amz-Expires=60"


def test_a_url_stays_a_url_and_a_path_a_path() -> None:
    assert parse_location("s3://bucket/ham/images/") == Url("s3", "bucket/ham/images")
    assert parse_location("data/images") == Path("data/images")
    assert parse_location("/data/odd://name") == Path("/data/odd://name")
    assert parse_location(Path("a")) == Path("a")


@pytest.mark.parametrize(
    "text", ["s3://bucket/a b/c#1.jpg", "gs://bucket", "s3://bucket/what?.jpg", SIGNED, "/a/b"]
)
def test_what_is_written_down_is_read_as_the_same(text: str) -> None:
    assert location_text(parse_location(text)) == text


def test_a_url_has_the_parts_of_a_path() -> None:
    url = parse_location("s3://bucket/models/resnet.v2.keras")
    assert isinstance(url, Url)
    assert (url.name, url.stem, url.suffix) == ("resnet.v2.keras", "resnet.v2", ".keras")
    assert str(url.with_suffix(".toml")) == "s3://bucket/models/resnet.v2.toml"
    assert str(url.parent / "vgg.keras") == "s3://bucket/models/vgg.keras"
    assert absolute(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "local://etc/passwd", "memory://a", "dir://a",
        "simplecache::s3://bucket/a", "zip://a.jpg::s3://bucket/a.zip", "zip://a.jpg::file:///etc/a.zip",
        "filecache://x", "reference://x", "git://repo",
    ],
)  # fmt: skip
def test_urls_of_this_machines_files_and_chained_ones_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not read"):
        parse_location(text)


@pytest.mark.parametrize("text", ["s3://", "s3:///", "s3://bucket/../other", "s3://bucket/./a", "s3://.."])
def test_a_url_names_something_and_leads_nowhere_else(text: str) -> None:
    with pytest.raises(SettingsError, match="BUCKET/PATH is wanted"):
        parse_location(text)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="does not belong into a URL") as refused:
        parse_location("https://me:s3cr3t@host/images")
    assert "s3cr3t" not in str(refused.value)
    with pytest.raises(SettingsError, match="does not belong into a URL") as refused:
        parse_location("s3://key:s3/cr3t@bucket/images")  # Amazon's keys may have a /
    assert "cr3t" not in str(refused.value)
    assert parse_location("sftp://me@host/images") == Url("sftp", "me@host/images")


def test_texts_show_neither_queries_nor_passwords() -> None:
    url = parse_location(SIGNED)
    assert str(url) == f"{url}" == "https://host/models/resnet.keras?…"
    assert without_secrets(f"400 for url='{SIGNED}', and what? redis://u:pass@h/0") == (
        "400 for url='https://host/models/resnet.keras?…', and what? redis://…h/0"
    )


@pytest.mark.parametrize(
    ("place", "folder", "inside"),
    [
        ("s3://b/images/x/y.jpg", "s3://b/images", "x/y.jpg"), ("s3://b/images", "s3://b/images", ""),
        ("s3://b/images2/y.jpg", "s3://b/images", None), ("gs://b/images/y.jpg", "s3://b/images", None),
        ("/b/images/y.jpg", "s3://b/images", None), ("/data/images/y.jpg", "/data", "images/y.jpg"),
        ("/data", "/data", ""), ("/data2/y.jpg", "/data", None),
    ],
)  # fmt: skip
def test_a_location_lies_below_folders_of_its_own_kind(place: str, folder: str, inside: str | None) -> None:
    assert relative_to(parse_location(place), parse_location(folder)) == inside
