"""Load a Keras model once, and know its graph and head."""

from dataclasses import dataclass
from functools import cached_property

import keras

from shared.errors import ModelError
from shared.inspection import Inspection, Layer
from shared.model_source import ModelSource, file_sha256
from worker.graph import Graph, Step, flatten_model
from worker.head import Head, find_head
from worker.model_file import read_keras_model
from worker.precision import Policies, stored_policies
from worker.stages import find_stages


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory; its weights are never changed."""

    sha256: str
    keras_model: keras.Model
    graph: Graph
    head: Head
    policies: Policies

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


def load_model(source: ModelSource, trust_model: bool) -> LoadedModel:
    """Load a model file in Keras' safe mode, uncompiled.

    Raises:
        ModelError: the file is no model, needs code that is not trusted, or cannot be explained.
    """
    model = read_keras_model(source, trust_model)
    try:
        graph = flatten_model(model, source.size)
        _check(graph)
        return LoadedModel(file_sha256(source.path), model, graph, find_head(graph), stored_policies(model))
    except ModelError as error:
        raise ModelError(f"{source.path}: {error}") from error


def _check(graph: Graph) -> None:
    for step in graph.steps:
        if getattr(step.operation, "data_format", None) == "channels_first":
            raise ModelError(
                f"layer {step.name!r} is channels_first, which TensorFlow does not compute on CPUs. "
                "Rebuild the model with data_format='channels_last' and save it again."
            )
