"""A model file of any kind Keras ever wrote, as a Keras model."""

import zipfile
from pathlib import Path
from typing import Any

import keras

from shared.errors import ModelError
from shared.model_source import ModelSource
from worker import keras2
from worker.architectures import load_weights
from worker.trusted_code import load_objects

SUFFIXES = (".keras", ".h5", ".hdf5")


def read_keras_model(source: ModelSource, trust_model: bool) -> keras.Model:
    """Read a whole model, or weights into a named architecture; uncompiled, in Keras' safe mode.

    Raises:
        ModelError: the file is no model, or needs code that is not there or not trusted.
    """
    path = source.path
    _check_kind(path)
    custom = load_objects(source.custom_layers, trust_model) if source.custom_layers else {}
    if path.suffix == ".keras":
        _refuse_architecture(source)
        return _load(path, path, custom, trust_model)
    if keras2.stored_config(path) is None:
        return load_weights(source)
    _refuse_architecture(source)
    with keras2.readable_by_keras3(path) as readable:
        return _load(path, readable, custom | keras2.custom_objects(), trust_model)


def _check_kind(path: Path) -> None:
    if not path.exists():
        raise ModelError(f"{path}: no such model file.")
    if path.is_dir():
        raise ModelError(
            f"{path}: a folder, such as a SavedModel, holds a compiled function without the layers that CAMs "
            "need. Load it with the code that made it and save it in one file: model.save('model.keras')."
        )
    if path.suffix not in SUFFIXES:
        raise ModelError(
            f"{path}: a model in one file is wanted ({', '.join(SUFFIXES)}). "
            "Save it with model.save('model.keras')."
        )


def _refuse_architecture(source: ModelSource) -> None:
    if source.architecture:
        raise ModelError(
            f"{source.path}: holds a whole model; --architecture {source.architecture} is for files of "
            "weights alone. Leave it out."
        )


def _load(path: Path, readable: Path, custom: dict[str, Any], trust_model: bool) -> keras.Model:
    try:
        return keras.models.load_model(
            readable, custom_objects=custom, compile=False, safe_mode=not trust_model
        )
    except Exception as error:  # Keras raises many kinds; each means the same to the user
        raise ModelError(f"{path}: {_why_not_loaded(path, error)}") from error


def _why_not_loaded(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "safe_mode" in text or "unsafe" in text.lower():
        return (
            "the model holds code of its own (a Lambda layer), which runs only with --trust-model. Give it "
            "where you trust who made the file."
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        text = f"it is no .keras archive, it begins with {path.read_bytes()[:8]!r}"
    advice = "A whole model is wanted, as model.save('model.keras') writes it."
    if "Could not locate" in text or "Unknown layer" in text:
        advice = "Layers of your own come with --custom-layers layers.py --trust-model."
    kind = type(error).__name__
    return f"no model that Keras {keras.__version__} can load: {kind}: {text[:600].rstrip('.')}. {advice}"
