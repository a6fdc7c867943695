"""The variables of a shard: names, dtypes, dimensions, attributes."""

import json
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.methods import METHODS
from shared.run import Records, Run
from shared.status import Status

SCHEMA = 1
_STRING = h5py.string_dtype()
_CHUNK_BYTES = 128 * 1024


def attribution_name(method: str, layer: str) -> str:
    """Return the variable's name: `gradcam__xception.block14_sepconv2_act`."""
    return f"{method}__{layer.replace('/', '.')}"


def attribution_size(run: Run, layer: str) -> tuple[int, int]:
    """Return height and width of the attributions stored for a layer."""
    if run.request.resolution == "input":
        return run.spec.input.size
    height, width, _ = run.inspection.layer(layer).shape
    return height, width


def create_layout(file: h5py.File, run: Run, shard: int, revision: int, records: Records) -> None:
    """Create every variable of a shard, filled with what stands for "nothing yet"."""
    layout = _Layout(file, len(records))
    layout.axis("image_id", np.array(records.image_ids, object), "image id", _STRING)
    layout.axis("class_name", np.array(run.spec.classes, object), "class name", _STRING)
    ranks = np.arange(run.request.targets.ranks, dtype=np.int16)
    layout.axis("target_rank", ranks, "rank of the target among those of its image")
    for layer in run.request.layers:
        for axis, size in zip("yx", attribution_size(run, layer), strict=True):
            centres = (np.arange(size) + 0.5) / size
            layout.axis(
                _axis_name(axis, layer), centres, f"{axis} of pixel centres, 0..1 of the model's input"
            )
    by_class = ("image_id", "class_name") if records.labels.ndim == 2 else ("image_id",)
    index_dtype = records.labels.dtype
    layout.variable("label", by_class, index_dtype, -1, "label, -1 unknown")[...] = records.labels
    layout.variable("probability", ("image_id", "class_name"), np.float32, np.nan, "probability")
    layout.variable(
        "logit", ("image_id", "class_name"), np.float32, np.nan, "score before the last activation"
    )
    layout.variable("prediction", by_class, index_dtype, -1, "prediction, -1 where failed")
    layout.variable(
        "target", ("image_id", "target_rank"), np.int16, -1, "class index that is explained, -1 none"
    )
    status = layout.variable("status", ("image_id",), np.int8, 0, "what became of the row")
    status.attrs["flag_values"] = np.array([one.value for one in Status], np.int8)
    status.attrs["flag_meanings"] = " ".join(one.name.lower() for one in Status)
    layout.variable("error", ("image_id",), _STRING, None, "why the status is not ok")
    for method, layer in run.request.attributions:
        layout.attribution(method, layer)
    if run.request.save_features:
        last = run.inspection.layer(run.inspection.last)
        layout.axis("channel", np.arange(last.shape[2], dtype=np.int32), f"channel of {last.name}")
        layout.variable(
            "feature", ("image_id", "channel"), np.float32, np.nan, f"mean over the pixels of {last.name}"
        )
    _write_root_attributes(file, run, shard, revision)


class _Layout:
    """Creates variables with their dimension scales in a new file."""

    def __init__(self, file: h5py.File, num_rows: int):
        self._file = file
        self._num_rows = num_rows

    def axis(self, name: str, values: NDArray[Any], long_name: str, dtype: Any = None) -> None:
        dataset = self._file.create_dataset(name, data=values, dtype=dtype)
        dataset.make_scale(name)
        dataset.attrs["long_name"] = long_name
        dataset.attrs["units"] = "1"

    def variable(
        self, name: str, dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str, **storage: Any
    ) -> h5py.Dataset:
        shape = tuple(self._file[dim].shape[0] for dim in dims)
        dataset = self._file.create_dataset(name, shape, dtype, fillvalue=fill, **storage)
        for position, dim in enumerate(dims):
            dataset.dims[position].attach_scale(self._file[dim])
        dataset.attrs["long_name"] = long_name
        dataset.attrs["units"] = "1"
        return dataset

    def attribution(self, method: str, layer: str) -> None:
        dims = ("image_id", "target_rank", _axis_name("y", layer), _axis_name("x", layer))
        shape = tuple(self._file[dim].shape[0] for dim in dims)
        image_bytes = 4 * int(np.prod(shape[1:]))
        rows = max(1, min(self._num_rows, _CHUNK_BYTES // image_bytes))
        dataset = self.variable(
            attribution_name(method, layer),
            dims,
            np.float32,
            np.nan,
            f"{METHODS[method].title} at {layer}",
            chunks=(rows, *shape[1:]),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
            fletcher32=True,
        )
        dataset.attrs["method"] = method
        dataset.attrs["layer"] = layer
        dataset.attrs["references"] = f"doi:{METHODS[method].doi}"


def _write_root_attributes(file: h5py.File, run: Run, shard: int, revision: int) -> None:
    """Say what the shard is of, and (as NeXus has it) that the root itself is what to plot, and how."""
    signal_method, signal_layer = run.request.attributions[-1]
    attributes = {
        "Conventions": "CF-1.11",
        "title": f"camshard run {run.run_id}, shard {shard}",
        "camshard_schema": SCHEMA,
        "run_id": run.run_id,
        "shard": shard,
        "revision": revision,
        "model_sha256": run.inspection.model_sha256,
        "preprocessing": json.dumps(vars(run.spec.input)),
        "resize_convention": "half-pixel centres",
        "score": run.request.score,
        "versions": json.dumps(run.versions),
        "NX_class": "NXdata",
        "default": ".",
        "signal": attribution_name(signal_method, signal_layer),
    }
    for name, value in attributes.items():
        file.attrs[name] = value
    axes = [".", ".", _axis_name("y", signal_layer), _axis_name("x", signal_layer)]
    file.attrs["axes"] = np.array(axes, object)


def _axis_name(axis: str, layer: str) -> str:
    return f"{axis}_{layer.replace('/', '.')}"
