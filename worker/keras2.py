"""Model files of Keras 2 (.h5, .hdf5), mended as they are read: Keras 3 refuses many."""

import inspect
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras

from shared.errors import ModelError
from worker.keras2_operations import OPERATIONS, is_reference, mend_operation

_KIND_NOW = {"Model": "Functional", "BatchNormalizationV1": "BatchNormalization"}
# how weights began, and what held them back in training: of no use once they are trained and loaded
_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
_UNTOUCHED = ("InputLayer", "Lambda")
_NEUTRAL: tuple[Any, ...] = (None, False, 1, [1, 1], {}, "stateful")


def stored_config(path: Path) -> dict[str, Any] | None:
    """Return the configuration in an HDF5 model file, None where it holds weights alone.

    Raises:
        ModelError: the file is no HDF5 file, or its configuration no JSON.
    """
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
        return None if text is None else dict(json.loads(text))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: no HDF5 file with a Keras model: {error}.") from error


@contextmanager
def readable_by_keras3(path: Path) -> Iterator[Path]:
    """Yield a file that Keras 3 reads: the one given, or a mended copy for as long as the block lasts.

    Raises:
        ModelError: a layer has a setting that Keras 3 has not.
    """
    with h5py.File(path, "r") as file:
        version = str(file.attrs.get("keras_version", "2"))
    config = stored_config(path)
    if version.startswith("3") or config is None:
        yield path
        return
    with TemporaryDirectory(prefix="camshard-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = json.dumps(_mend(config))
        yield copy


def custom_objects() -> dict[str, Any]:
    """Return what stands for the classes of Keras 2 that Keras 3 has not."""
    return dict(OPERATIONS)


def _mend(node: Any) -> Any:
    if isinstance(node, list):
        return [_mend(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_name") in OPERATIONS:
        return mend_operation(node)
    mended = {name: _mend(value) for name, value in node.items()}
    if isinstance(mended.get("class_name"), str) and isinstance(mended.get("config"), dict):
        return _mend_object(mended)
    return mended


def _mend_object(node: dict[str, Any]) -> Any:
    """Mend one serialised object, whose parts are mended."""
    kind = _KIND_NOW.get(node["class_name"], node["class_name"])
    config = node["config"]
    if kind in ("Policy", "PolicyV1"):
        return config["name"]
    if kind == "Sequential":
        config = _mend_sequential(config)
    elif "input_layers" in config:
        config = _mend_functional(config)
    elif isinstance(getattr(keras.layers, kind, None), type) and kind not in _UNTOUCHED:
        config = _mend_layer(kind, config)
    return {**node, "class_name": kind, "config": config}


def _mend_layer(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    known = _parameters(getattr(keras.layers, kind))
    mended = {name: value for name, value in config.items() if not name.endswith(_TRAINING_ONLY)}
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list):
        mended["axis"] = config["axis"][0]
    if kind == "LeakyReLU" and "alpha" in config:
        mended["negative_slope"] = mended.pop("alpha")
    for name in sorted(mended.keys() - known):
        if mended[name] not in _NEUTRAL:
            raise ModelError(
                f"layer {config.get('name')!r} ({kind}) has {name} {mended[name]!r}, which Keras 3 has not. "
                "Load the model with the Keras 2 that made it, rebuild that layer, and save it again."
            )
        del mended[name]
    return mended


def _parameters(layer_class: type) -> set[str]:
    """Return the settings that a layer class of Keras 3 takes."""
    common = {"name", "trainable", "dtype", "batch_input_shape", "layers"}
    own = (inspect.signature(vars(one)["__init__"]) for one in layer_class.__mro__ if "__init__" in vars(one))
    return common.union(*(signature.parameters for signature in own))


def _mend_sequential(config: dict[str, Any]) -> dict[str, Any]:
    """Begin with an input layer where the first layer said the input's shape, and have no other say it."""
    layers = [_without_shape(layer) for layer in config["layers"]]
    first = config["layers"][0] if layers else {"class_name": "InputLayer", "config": {}}
    shape = first["config"].get("batch_input_shape")
    if shape is None or first["class_name"] == "InputLayer":
        return {**config, "layers": layers}
    name = f"{first['config']['name']}_input"
    start = {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": name}}
    return {**config, "layers": [start, *layers]}


def _without_shape(layer: dict[str, Any]) -> dict[str, Any]:
    if layer["class_name"] == "InputLayer":
        return layer
    config = {name: value for name, value in layer["config"].items() if name != "batch_input_shape"}
    return {**layer, "config": config}


def _mend_functional(config: dict[str, Any]) -> dict[str, Any]:
    """Count calls of nested models from 0: Keras 2 counted the call that a model was made by as the first.

    A single input or output is no list of one, or calls would return a list.
    """
    nested = {layer["name"]: layer["class_name"] for layer in config["layers"] if _has_call_of_its_own(layer)}
    layers = [
        {**layer, "inbound_nodes": _renumber(layer.get("inbound_nodes", []), set(nested))}
        for layer in config["layers"]
    ]
    # Keras 3 takes care of Functional ones among the model's own outputs, and of no others
    sequential = {name for name, kind in nested.items() if kind == "Sequential"}
    ends = {name: _renumber(config[name], sequential) for name in ("input_layers", "output_layers")}
    return {**config, "layers": layers, **{name: _unwrap(references) for name, references in ends.items()}}


def _unwrap(references: list[Any]) -> list[Any]:
    return references[0] if len(references) == 1 and is_reference(references[0]) else references


def _has_call_of_its_own(layer: dict[str, Any]) -> bool:
    inner = layer["config"].get("layers") if layer["class_name"] in ("Functional", "Sequential") else None
    return bool(inner) and inner[0]["class_name"] == "InputLayer"


def _renumber(node: Any, nested: set[str]) -> Any:
    if is_reference(node) and node[0] in nested:
        return [node[0], node[1] - 1, *node[2:]]
    return [_renumber(one, nested) for one in node] if isinstance(node, list) else node
