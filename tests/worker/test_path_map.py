"""--map OLD=NEW."""

from pathlib import Path

import pytest

from shared.errors import SettingsError, StorageError
from shared.locations import location_text, parse_location
from worker.path_map import parse_path_map


def test_a_path_below_the_old_prefix_moves_below_the_new_one():
    paths = parse_path_map(("/data=/mnt/data",))
    assert paths.here(Path("/data/ham/1.jpg")) == Path("/mnt/data/ham/1.jpg")


def test_a_path_that_only_begins_with_the_same_letters_stays():
    assert parse_path_map(("/data=/mnt",)).here(Path("/data2/1.jpg")) == Path("/data2/1.jpg")


def test_the_first_pair_that_fits_counts():
    paths = parse_path_map(("/data/ham=/fast", "/data=/slow"))
    assert paths.here(Path("/data/ham/1.jpg")) == Path("/fast/1.jpg")
    assert paths.here(Path("/data/isic/1.jpg")) == Path("/slow/isic/1.jpg")


def test_without_pairs_paths_stay():
    assert parse_path_map(()).here(Path("/data/1.jpg")) == Path("/data/1.jpg")


@pytest.mark.parametrize("text", ["/data", "data=/mnt", "/data=mnt", "=/mnt", "/data="])
def test_a_pair_of_anything_but_absolute_paths_is_refused(text):
    with pytest.raises(SettingsError, match="OLD=NEW with absolute paths or URLs is wanted") as caught:
        parse_path_map((text,))
    assert repr(text) in str(caught.value)


def test_folders_at_urls_are_mapped_too() -> None:
    paths = parse_path_map(("s3://data/ham=/fast/ham", "s3://data=gs://copy/data", "/old=s3://data/new"))
    at = [
        str(paths.here(parse_location(text)))
        for text in ("s3://data/ham/a.jpg", "s3://data/b.jpg", "/old/c.jpg")
    ]
    assert at == ["/fast/ham/a.jpg", "gs://copy/data/b.jpg", "s3://data/new/c.jpg"]
    assert str(paths.here(parse_location("s3://data2/a.jpg"))) == "s3://data2/a.jpg"


@pytest.mark.parametrize(
    ("pair", "place", "here"),
    [
        ("https://h/ham=/data/ham", "https://h/ham/a%20b.jpg", "/data/ham/a b.jpg"),
        ("/data/ham=https://h/ham", "/data/ham/a b#1.jpg", "https://h/ham/a%20b%231.jpg"),
        ("s3://b/ham=/data/ham", "s3://b/ham/a%20b.jpg", "/data/ham/a%20b.jpg"),
    ],
)
def test_names_are_written_as_their_place_writes_them(pair, place, here):
    assert location_text(parse_path_map((pair,)).here(parse_location(place))) == here


def test_a_name_that_would_lead_out_of_the_folder_is_refused():
    place = parse_location("https://h/ham/..%2Fsecret.jpg")
    with pytest.raises(StorageError, match="with --map it would lead out of /data/ham"):
        parse_path_map(("https://h/ham=/data/ham",)).here(place)
