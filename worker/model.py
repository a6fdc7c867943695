"""Load a Keras model once, and know its graph and head."""

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras

from shared.errors import ModelError
from shared.inspection import Inspection, Layer, file_sha256
from worker.graph import Graph, Step, flatten_model
from worker.head import Head, find_head
from worker.stages import find_stages

SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory; its weights are never changed."""

    sha256: str
    keras_model: keras.Model
    graph: Graph
    head: Head

    @cached_property
    def explainable(self) -> dict[str, Step]:
        """The steps whose output has a height and a width and that the output depends on, by name."""
        needed = self.graph.upstream(self.head.last)
        return {
            step.name: step
            for step in self.graph.steps
            if needed.intersection(step.outputs) and self.graph.has_pixels(step.outputs[0])
        }

    def inspect(self) -> Inspection:
        """Return what planning must know."""
        graph, head = self.graph, self.head
        return Inspection(
            model_sha256=self.sha256,
            keras_version=keras.__version__,
            input_shapes=tuple(graph.shapes[slot][1:] for slot in graph.inputs),
            outputs=head.outputs,
            activation=head.activation,
            pooling=head.pooling,
            pooled_linear_head=head.pooled_linear,
            last=graph.producers[head.last].name,
            stages=find_stages(graph, head.last),
            layers=tuple(
                Layer(name, step.kind, graph.shapes[step.outputs[0]][1:])  # type: ignore[arg-type]
                for name, step in self.explainable.items()
            ),
        )


def load_model(path: Path, trust_model: bool) -> LoadedModel:
    """Load a whole model file in Keras' safe mode, uncompiled.

    Raises:
        ModelError: the file is no model, needs code that is not trusted, or cannot be explained.
    """
    if not path.exists():
        raise ModelError(f"{path}: no such model file.")
    if path.suffix not in SUFFIXES or not path.is_file():
        raise ModelError(
            f"{path}: a whole model in one file is wanted ({', '.join(SUFFIXES)}). A SavedModel folder or "
            "a weights file is none: load it with the code that made it and save it with "
            "model.save('model.keras')."
        )
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not trust_model)
    except Exception as error:  # Keras raises many kinds; each means the same to the user
        raise ModelError(_why_not_loaded(path, error)) from error
    try:
        graph = flatten_model(model)
        _check(graph)
        return LoadedModel(file_sha256(path), model, graph, find_head(graph))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _why_not_loaded(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())[:600]
    if "safe_mode" in text or "unsafe" in text.lower():
        return (
            f"{path}: the model holds code of its own (a Lambda layer), which runs only with --trust-model. "
            "Give it where you trust who made the file."
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        text = f"it is no .keras archive, it begins with {path.read_bytes()[:8]!r}"
    return (
        f"{path}: no model that Keras {keras.__version__} can load: {type(error).__name__}: "
        f"{text.rstrip('.')}. "
        "A whole model is wanted, as model.save('model.keras') writes it."
    )


def _check(graph: Graph) -> None:
    for slot in graph.inputs:
        shape = graph.shapes[slot]
        if len(shape) == 4 and None in shape[1:]:
            raise ModelError(
                f"the input has the shape {shape}; a fixed height, width and number of channels are wanted. "
                "Save the model with keras.Input of a fixed size."
            )
    for step in graph.steps:
        if getattr(step.operation, "data_format", None) == "channels_first":
            raise ModelError(
                f"layer {step.name!r} is channels_first, which TensorFlow does not compute on CPUs. "
                "Rebuild the model with data_format='channels_last' and save it again."
            )
