"""docs/result-format.md names everything that is in the files."""

from dataclasses import replace
from pathlib import Path

import h5py
import pyarrow.parquet as pq
import pytest
from made_up_results import publish_all

from shared.finish import finish_run
from shared.methods import METHODS
from shared.run import Run
from shared.shard import ShardWriter
from shared.status import Status

DOCUMENT = (Path(__file__).parents[2] / "docs" / "result-format.md").read_text(encoding="utf-8")


def documented(name: str) -> bool:
    return f"`{name}`" in DOCUMENT or f"| {name} |" in DOCUMENT


@pytest.fixture
def complete(run_dir: Run) -> Run:
    publish_all(run_dir)
    finish_run(run_dir)
    return run_dir


def test_every_variable_of_a_shard_is_documented_with_its_dimensions_and_dtype(run_dir: Run) -> None:
    run = replace(run_dir, request=replace(run_dir.request, save_features=True))
    section = DOCUMENT.split("## A shard")[1].split("## Rows")[0]
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| `")}
    with ShardWriter(run, 0, run.shard_records(0)) as writer:
        for name, dataset in writer._file.items():
            generic = name.replace("cam__c2", "<method>__<layer>").replace("grad<", "<")
            generic = {"y_c2": "y_<layer>", "x_c2": "x_<layer>"}.get(generic, generic)
            line = next(line for key, line in rows.items() if f"`{generic}`" in key)
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            assert f"| {'str' if is_text else dataset.dtype} |" in line, name
            dims = [axis[0].name[1:].replace("_c2", "_<layer>") for axis in dataset.dims if len(axis)]
            assert dataset.is_scale or f"| {', '.join(dims)} |" in line.replace("\\", ""), name


def test_every_attribute_is_documented(complete: Run) -> None:
    with h5py.File(complete.shard_path(0)) as shard, h5py.File(complete.index_path) as index:
        names = set(shard.attrs) | set(index.attrs) | set(shard["cam__c2"].attrs) | set(shard["status"].attrs)
    hdf5s_own = {"DIMENSION_LIST", "CLASS", "NAME", "REFERENCE_LIST"}
    assert [name for name in sorted(names - hdf5s_own) if not documented(name)] == []


def test_every_column_of_the_table_every_status_and_method_is_documented(complete: Run) -> None:
    for name in pq.read_schema(complete.table_path).names:
        if name in ("age", "sex"):
            continue
        generic = name.replace("_0", "_<rank>").replace("_1", "_<rank>").replace("_2", "_<rank>")
        for one in complete.spec.classes:
            generic = generic.replace(f"_{one}", "_<class>")
        assert documented(generic), name
    assert all(f"| {one.value} {one.name.lower()} |" in DOCUMENT for one in Status)
    assert all(documented(method) for method in METHODS)
