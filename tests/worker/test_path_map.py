"""--map OLD=NEW."""

from pathlib import Path

import pytest

from shared.errors import SettingsError
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
    with pytest.raises(SettingsError, match="OLD=NEW with absolute paths is wanted") as caught:
        parse_path_map((text,))
    assert repr(text) in str(caught.value)
