"""What a model's graph ends in: the logits, and how feature maps become them."""

from dataclasses import dataclass
from typing import Any

import keras

from shared.errors import ModelError
from worker.graph import Graph, Step

_POOLINGS = {"GlobalAveragePooling2D": "average", "GlobalMaxPooling2D": "max", "Flatten": "flatten"}
_UNCHANGED_IN_INFERENCE = {
    "Dropout",
    "SpatialDropout2D",
    "ActivityRegularization",
    "Identity",
    "GaussianNoise",
}


@dataclass(frozen=True)
class Head:
    """The end of a graph.

    Attributes:
        activation: softmax, sigmoid or linear: the last activation.
        logits: slot of the logits, or of the last layer's input where its activation is built in.
        built_in: the layer whose activation is built in; its logits are computed apart.
        outputs: how many values the output has.
        pooling: average, max, flatten or none.
        last: slot of the tensor that enters the pooling.
        pooled_linear: whether at most one linear layer follows average pooling.
        dense: that linear layer; None where the pooled values are the logits.
    """

    activation: str
    logits: int
    built_in: Any
    outputs: int
    pooling: str
    last: int
    pooled_linear: bool
    dense: Any

    def compute_logits(self, values: dict[int, Any]) -> Any:
        """Return float32 (batch, outputs), before the last activation."""
        if self.built_in is None:
            return keras.ops.cast(values[self.logits], "float32")
        inputs = keras.ops.cast(values[self.logits], "float32")
        logits = keras.ops.matmul(inputs, keras.ops.cast(self.built_in.kernel, "float32"))
        return logits + self.built_in.bias if self.built_in.use_bias else logits


def find_head(graph: Graph) -> Head:
    """Read the head off the graph.

    Raises:
        ModelError: the output is no vector of classes, no feature maps lead to it, or the logits are
            out of reach.
    """
    shape = graph.shapes[graph.output]
    if len(shape) != 2 or shape[1] is None:
        raise ModelError(f"the model's output has the shape {shape}; (batch, classes) is wanted.")
    final = graph.producers.get(_skip_unchanged(graph, graph.output))
    if final is None:
        raise ModelError("the model's output is its input.")
    activation, before, built_in = _last_activation(final)
    logits_step = final if built_in is not None else graph.producers.get(_skip_unchanged(graph, before))
    dense = logits_step.operation if logits_step is not None and logits_step.kind == "Dense" else None
    if dense is not None and built_in is None and _activation_name(dense) != "linear":
        dense = None
    pooled = _skip_unchanged(graph, logits_step.inputs[0] if dense is not None else before)
    pooling_step = _find_pooling(graph)
    pooling = _POOLINGS.get(pooling_step.kind, pooling_step.kind)
    pooled_linear = pooling == "average" and pooled in pooling_step.outputs
    return Head(
        activation=activation,
        logits=before,
        built_in=built_in,
        outputs=shape[1],
        pooling=pooling,
        last=pooling_step.inputs[0],
        pooled_linear=pooled_linear,
        dense=dense if pooled_linear else None,
    )


def _last_activation(final: Step) -> tuple[str, int, Any]:
    """Return the activation's name, the slot before it, and the layer it is built into, if it is."""
    name = _activation_name(final.operation)
    if name in ("softmax", "sigmoid"):
        if final.kind in ("Softmax", "Activation", "Sigmoid"):
            return name, final.inputs[0], None
        if final.kind == "Dense":
            return name, final.inputs[0], final.operation
        raise ModelError(
            f"the last layer {final.name!r} is a {final.kind} with {name} built in, whose logits are out of "
            "reach. Save the model with the activation as a layer of its own."
        )
    if name != "linear":
        raise ModelError(f"the model ends in {name} ({final.name!r}); softmax, sigmoid or none is wanted.")
    return "linear", final.outputs[0], None


def _activation_name(operation: Any) -> str:
    """Return the name of an operation's activation, `linear` where it has none."""
    kind = type(operation).__name__
    if kind in ("Softmax", "Sigmoid", "ReLU"):
        return kind.lower()
    activation = getattr(operation, "activation", None)
    return getattr(activation, "__name__", type(activation).__name__) if activation is not None else "linear"


def _skip_unchanged(graph: Graph, slot: int) -> int:
    """Walk back over steps that do nothing in inference."""
    step = graph.producers.get(slot)
    while step is not None and _does_nothing(graph, step):
        slot = step.inputs[0]
        step = graph.producers.get(slot)
    return slot


def _does_nothing(graph: Graph, step: Step) -> bool:
    if step.kind in _UNCHANGED_IN_INFERENCE:
        return True
    if step.kind == "Activation":
        return _activation_name(step.operation) == "linear"
    flattens = step.kind in ("Flatten", "Reshape") and len(graph.shapes[step.outputs[0]]) == 2
    return flattens and graph.shapes[step.inputs[0]][1:-1] in ((), (1, 1))


def _find_pooling(graph: Graph) -> Step:
    """Return the last step that turns feature maps into a vector."""
    needed = graph.upstream(graph.output)
    for step in reversed(graph.steps):
        if needed.intersection(step.outputs) and _pools(graph, step) and step.inputs[0] in graph.producers:
            return step
    raise ModelError(
        "the model has no feature maps (batch, height, width, channels) that lead to its output; CAMs need "
        "a convolutional net, whose layers do not hide inside a model class of its own."
    )


def _pools(graph: Graph, step: Step) -> bool:
    """Tell whether a step takes height and width away; feature maps of 1×1 lose them by pooling alone."""
    before = graph.shapes[step.inputs[0]] if step.inputs else ()
    after = graph.shapes[step.outputs[0]]
    if len(before) != 4:
        return False
    shrinks = before[1:3] != (1, 1) and (len(after) < 4 or after[1:3] == (1, 1))
    return shrinks or step.kind.startswith("Global")
