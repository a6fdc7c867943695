"""A small run whose shards hold numbers that can be checked by hand."""

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
