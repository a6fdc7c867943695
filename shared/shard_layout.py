"""The variables of a shard: names, dtypes, dimensions, attributes."""

import json
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from shared.methods import METHODS
from shared.records import Records
from shared.run import Run
from shared.status import Status

SCHEMA = 1
_STRING = h5py.string_dtype()
_CHUNK_BYTES = 128 * 1024
_LARGE_CHUNK_BYTES = 1024 * 1024


def attribution_name(method: str, layer: str) -> str:
    """Return the variable's name: `gradcam__xception.block14_sepconv2_act`."""
    return f"{method}__{layer.replace('/', '.')}"


def attribution_dims(layer: str) -> tuple[str, ...]:
    """Return the names of the axes of a layer's attributions."""
    return ("image_id", "target_rank", _axis_name("y", layer), _axis_name("x", layer))


def attribution_size(run: Run, layer: str) -> tuple[int, int]:
    """Return height and width of the attributions stored for a layer."""
    if run.request.resolution == "input":
        return run.spec.input.size
    height, width, _ = run.inspection.layer(layer).shape
    return height, width


def attribution_bytes(run: Run, layer: str) -> int:
    """Return how many bytes the attributions of one image and method at a layer take in memory."""
    height, width = attribution_size(run, layer)
    return 4 * run.request.targets.ranks * height * width


def create_layout(file: h5py.File, run: Run, shard: int, revision: int, records: Records) -> None:
    """Create every variable of a shard, filled with what stands for "nothing yet"."""
    layout = Layout(file, run)
    layout.rows(records)
    for method, layer in run.request.attributions:
        layout.attribution(method, layer)
    if run.request.save_features:
        layout.features()
    title = f"camshard run {run.run_id}, shard {shard}"
    write_root_attributes(file, run, {"title": title, "shard": shard, "revision": revision})


class Layout:
    """Creates variables with their dimension scales in a new file."""

    def __init__(self, file: h5py.File, run: Run):
        self._file = file
        self._run = run

    def rows(self, records: Records) -> None:
        """Create the axes, and all that has a value an image or class; labels are filled in."""
        run, by_class = self._run, ("image_id", "class_name")
        self.axis("image_id", np.array(records.image_ids, object), "image id", _STRING)
        self.axis("class_name", np.array(run.spec.classes, object), "class name", _STRING)
        ranks = np.arange(run.request.targets.ranks, dtype=np.int16)
        self.axis("target_rank", ranks, "rank of the target among those of its image")
        for layer in run.request.layers:
            self._pixel_axes(layer)
        labelled = by_class if records.labels.ndim == 2 else ("image_id",)
        dtype = records.labels.dtype
        self.variable("label", labelled, dtype, -1, "label, -1 unknown")[...] = records.labels
        self.variable("probability", by_class, np.float32, np.nan, "probability")
        self.variable("logit", by_class, np.float32, np.nan, "score before the last activation")
        self.variable("prediction", labelled, dtype, -1, "prediction, -1 where failed")
        self.variable(
            "target", ("image_id", "target_rank"), np.int16, -1, "class index that is explained, -1 none"
        )
        status = self.variable("status", ("image_id",), np.int8, 0, "what became of the row")
        status.attrs["flag_values"] = np.array([one.value for one in Status], np.int8)
        status.attrs["flag_meanings"] = " ".join(one.name.lower() for one in Status)
        self.variable("error", ("image_id",), _STRING, None, "why the status is not ok")

    def attribution(self, method: str, layer: str, virtual: h5py.VirtualLayout | None = None) -> h5py.Dataset:
        """Create the variable of a method at a layer: compressed chunks, or a view of other files."""
        name, dims = attribution_name(method, layer), attribution_dims(layer)
        long_name = f"{METHODS[method].title} at {layer}"
        if virtual is not None:
            dataset = self._file.create_virtual_dataset(name, virtual, fillvalue=np.nan)
            self._describe(dataset, dims, long_name)
        else:
            storage = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            dataset = self.variable(name, dims, np.float32, np.nan, long_name, _CHUNK_BYTES, **storage)
        dataset.attrs["method"] = method
        dataset.attrs["layer"] = layer
        dataset.attrs["interpretation"] = "image"  # NeXus: the last two axes
        dataset.attrs["references"] = f"doi:{METHODS[method].doi}"
        return dataset

    def features(self, virtual: h5py.VirtualLayout | None = None) -> h5py.Dataset:
        """Create the variable of the pooled activations of the last layer, and its axis."""
        last = self._run.inspection.layer(self._run.inspection.last)
        self.axis("channel", np.arange(last.shape[2], dtype=np.int32), f"channel of {last.name}")
        long_name, dims = f"mean over the pixels of {last.name}", ("image_id", "channel")
        if virtual is None:
            return self.variable("feature", dims, np.float32, np.nan, long_name)
        dataset = self._file.create_virtual_dataset("feature", virtual, fillvalue=np.nan)
        self._describe(dataset, dims, long_name)
        return dataset

    def axis(self, name: str, values: NDArray[Any], long_name: str, dtype: Any = None) -> None:
        """Create a dimension scale."""
        dataset = self._file.create_dataset(name, data=values, dtype=dtype)
        dataset.make_scale(name)
        self._describe(dataset, (), long_name)

    def variable(
        self, name: str, dims: tuple[str, ...], dtype: Any, fill: Any, long_name: str,
        chunk_bytes: int = _LARGE_CHUNK_BYTES, **storage: Any,
    ) -> h5py.Dataset:  # fmt: skip
        """Create a variable over axes that are there; numbers with checksums."""
        shape = tuple(self._file[dim].shape[0] for dim in dims)
        if dtype != _STRING:
            storage |= {"chunks": _chunk_shape(shape, np.dtype(dtype).itemsize, chunk_bytes)}
            storage |= {"fletcher32": True}
        dataset = self._file.create_dataset(name, shape, dtype, fillvalue=fill, **storage)
        self._describe(dataset, dims, long_name)
        return dataset

    def _describe(self, dataset: h5py.Dataset, dims: tuple[str, ...], long_name: str) -> None:
        for position, dim in enumerate(dims):
            dataset.dims[position].attach_scale(self._file[dim])
        dataset.attrs["long_name"] = long_name
        dataset.attrs["units"] = "1"

    def _pixel_axes(self, layer: str) -> None:
        for axis, size in zip("yx", attribution_size(self._run, layer), strict=True):
            centres = (np.arange(size) + 0.5) / size
            self.axis(_axis_name(axis, layer), centres, f"{axis} of pixel centres, 0..1 of the model's input")


def _chunk_shape(shape: tuple[int, ...], itemsize: int, most_bytes: int) -> tuple[int, ...]:
    """Return whole rows, as many as fit; a row is never cut, so that reading one reads one chunk."""
    row_bytes = itemsize * int(np.prod(shape[1:]))
    return (max(1, min(shape[0], most_bytes // row_bytes)), *shape[1:])


def write_root_attributes(file: h5py.File, run: Run, own: dict[str, Any]) -> None:
    """Say what the file is of, and (as NeXus has it) that the root itself is to be plotted, and how.

    NXdata needs no attribute `default`; one that named the root would send some readers in circles.
    """
    signal_method, signal_layer = run.request.attributions[-1]
    attributes = {
        "Conventions": "CF-1.11",
        "camshard_schema": SCHEMA,
        "run_id": run.run_id,
        "model_sha256": run.inspection.model_sha256,
        "preprocessing": json.dumps(vars(run.spec.input)),
        "resize_convention": "half-pixel centres",
        "score": run.request.score,
        "versions": json.dumps(run.versions),
        "NX_class": "NXdata",
        "signal": attribution_name(signal_method, signal_layer),
        **own,
    }
    for name, value in attributes.items():
        file.attrs[name] = value
    axes = [".", ".", _axis_name("y", signal_layer), _axis_name("x", signal_layer)]
    file.attrs["axes"] = np.array(axes, object)


def _axis_name(axis: str, layer: str) -> str:
    return f"{axis}_{layer.replace('/', '.')}"
