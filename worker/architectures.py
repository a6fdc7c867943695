"""Weights without a model: the network that they were saved from, built anew."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers

from shared.errors import ModelError
from shared.model_source import ModelSource

_SUFFIX = "-gap"


def load_weights(source: ModelSource) -> keras.Model:
    """Build an architecture of keras.applications, average pooling and a Dense layer on it, and load it.

    Its weights may be those of a flat model, or of one that holds the backbone as a layer.

    Raises:
        ModelError: no or an unknown architecture is named, or the weights are of another.
    """
    backbone = _backbone(source)
    reasons = []
    for way, model in _models(backbone, source):
        try:
            if _is_keras2(source.path):
                _load_by_name(model, source.path)
            else:
                model.load_weights(source.path)
            return model
        except Exception as error:  # Keras raises many kinds; each means that the weights are of another
            reasons.append(f"{way}: {' '.join(str(error).split())[:200]}")
    raise ModelError(
        f"{source.path}: no weights of {source.architecture} with {source.num_classes} outputs: "
        f"{'; '.join(reasons)}. Say --architecture, --num-classes and --size as they were in training, or "
        "save the whole model with model.save('model.keras')."
    )


def _backbone(source: ModelSource) -> Callable[[], keras.Model]:
    known = _applications()
    if source.architecture is None:
        raise ModelError(
            f"{source.path}: weights alone. Say what they are the weights of with --architecture "
            "resnet50-gap --num-classes 7, or save the whole model with model.save('model.keras')."
        )
    application = known.get(source.architecture.removesuffix(_SUFFIX).lower())
    if application is None or not source.architecture.endswith(_SUFFIX):
        names = ", ".join(f"{name}{_SUFFIX}" for name in known)
        raise ModelError(f"--architecture: {source.architecture!r} is not known. Known: {names}.")
    if source.num_classes is None or source.size is None:
        raise ModelError(
            f"{source.path}: --architecture {source.architecture} wants --num-classes N (the model's "
            "outputs) and --size HEIGHT,WIDTH."
        )
    shape = (*source.size, source.channels)
    return lambda: application(include_top=False, weights=None, input_shape=shape)


def _models(backbone: Callable[[], keras.Model], source: ModelSource) -> Iterator[tuple[str, keras.Model]]:
    """Yield the ways in which people put a head on a backbone; they differ in the names of the weights."""

    def head(maps: Any) -> Any:
        activation = "sigmoid" if source.sigmoid else "softmax"
        return layers.Dense(source.num_classes, activation)(layers.GlobalAveragePooling2D()(maps))

    flat = backbone()
    yield "as a flat model", keras.Model(flat.inputs, head(flat.output))
    if not _is_keras2(source.path):
        nested = backbone()
        inputs = keras.Input(nested.input_shape[1:])
        yield "with the backbone as a layer", keras.Model(inputs, head(nested(inputs)))


def _applications() -> dict[str, Callable[..., keras.Model]]:
    return {
        name.lower(): value
        for name, value in sorted(vars(keras.applications).items())
        if callable(value) and name[0].isupper()
    }


def _is_keras2(path: Path) -> bool:
    with h5py.File(path, "r") as file:
        return "layer_names" in file.attrs or "model_weights" in file


def _load_by_name(model: keras.Model, path: Path) -> None:
    """Load weights as Keras 2 saved them, by the layer's and the weight's name.

    So it does not matter whether the backbone was a layer, nor which layers were frozen: both change the
    order in which Keras 2 saved them. The head's names are anybody's; it takes what the backbone leaves.
    """
    stored = _stored_weights(path)
    *backbone, kernel, bias = model.weights
    for variable in backbone:
        layer, weight = variable.path.split("/")[-2:]
        name, older = f"{layer}/{weight}", f"{layer}/depthwise_{weight}"
        variable.assign(stored.pop(older if older in stored else name))
    left = sorted((value for value in stored.values() if np.ndim(value)), key=np.ndim)  # no counters
    if [value.shape for value in left] != [bias.shape, kernel.shape]:
        raise ValueError(
            f"the head wants {tuple(kernel.shape)} and {tuple(bias.shape)}, left are {sorted(stored)}"
        )
    bias.assign(left[0])
    kernel.assign(left[1])


def _stored_weights(path: Path) -> dict[str, Any]:
    """Return every weight of a file by `layer/weight`."""
    stored: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            stored["/".join(name.removesuffix(":0").split("/")[-2:])] = item[()]

    with h5py.File(path, "r") as file:
        file.get("model_weights", file).visititems(collect)
    return stored
