"""A small run whose shards hold numbers that can be checked by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_results import publish_all

from shared.finish import finish_run
from shared.run import Run


@pytest.fixture
def results_dir(run_dir: Run) -> Run:
    """All shards of the tiny run."""
    publish_all(run_dir)
    return run_dir


@pytest.fixture
def finished(results_dir: Run) -> Run:
    """The tiny run with table and index."""
    finish_run(results_dir)
    return results_dir


@pytest.fixture
def pictured_run(results_dir: Run, make_images: Callable[..., Path], tmp_path: Path) -> Run:
    """The tiny run with its image files; c has none and has failed."""
    make_images(tmp_path / "images", "abde")
    return results_dir
