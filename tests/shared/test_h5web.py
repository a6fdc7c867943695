"""What H5Web is told by h5grove, its usual server, along the NeXus default path."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_results import RAMP, publish_all

from shared.finish import finish_run
from shared.run import Run

pytest.importorskip("h5grove")


@pytest.fixture
def complete(run_dir: Run) -> Run:
    publish_all(run_dir)
    finish_run(run_dir)
    return run_dir


def ask(path: Path, name: str) -> AbstractContextManager[Any]:
    """Ask for an entity as H5Web does; what is not there is an error."""
    from h5grove.content import get_content_from_file

    return get_content_from_file(path, name, lambda code, text: AssertionError(f"{code} {text}"))


@pytest.mark.parametrize("kind", ["shard", "index"])
def test_the_root_that_is_opened_leads_to_an_attribution_with_its_axes(complete: Run, kind: str) -> None:
    path = complete.shard_path(0) if kind == "shard" else complete.index_path
    with ask(path, "/") as root:
        attributes = root.attributes()
        names = {child["name"] for child in root.metadata()["children"]}
    assert attributes["NX_class"] == "NXdata"  # so H5Web draws it at once, and asks for no default
    signal, axes = attributes["signal"], [one for one in attributes["axes"] if one != "."]
    assert signal == "gradcam__c2"
    assert {signal, *axes} <= names
    with ask(path, f"/{signal}") as dataset:
        assert dataset.attributes()["interpretation"] == "image"
        assert len(attributes["axes"]) == len(dataset.metadata()["shape"]) == 4
        np.testing.assert_allclose(dataset.data("1,0"), np.tile(RAMP / 64, (8, 1)))
    for axis in axes:
        with ask(path, f"/{axis}") as dataset:
            np.testing.assert_allclose(dataset.data(), (np.arange(8) + 0.5) / 8)


def test_every_attribute_can_be_sent_as_json(complete: Run) -> None:
    from h5grove.encoders import encode

    with ask(complete.index_path, "/") as root:
        sent = json.loads(encode(root.attributes(), "json").content)
    assert sent["run_id"] == complete.run_id
