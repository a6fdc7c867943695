"""Batch normalisation in the form that TensorFlow computes together with the convolution before it."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from worker.graph import Graph, Step


@dataclass(frozen=True)
class FusedNorm:
    """A call of BatchNormalization in inference, with the convolution before it where that has a bias.

    γ·(conv(x) + bias - mean)/√(variance + ε) + β is computed with mean - bias in the place of mean: the bias
    costs nothing, no weight is rounded anew, and TensorFlow's graph optimiser sees the pair it fuses.

    Attributes:
        norm: the step this one stands for.
        convolution: the step before it, computed here without its bias; None where it stays on its own.
    """

    norm: Step
    convolution: Step | None

    @property
    def operation(self) -> Any:
        """The normalisation layer."""
        return self.norm.operation

    @property
    def inputs(self) -> tuple[int, ...]:
        """The slots of the arguments."""
        return (self.convolution or self.norm).inputs

    @property
    def outputs(self) -> tuple[int, ...]:
        """The slots of the results."""
        return self.norm.outputs

    def call(self, values: dict[int, Any]) -> None:
        """Compute the result from the argument in `values`, and add it there."""
        maps = tf.cast(values[self.inputs[0]], tf.float32)
        mean = tf.convert_to_tensor(self.operation.moving_mean)
        if self.convolution is not None:
            layer = self.convolution.operation
            maps, mean = layer.convolution_op(maps, layer.kernel), mean - layer.bias
        variance = tf.convert_to_tensor(self.operation.moving_variance)
        scale = self.operation.gamma if self.operation.scale else tf.ones_like(variance)
        offset = self.operation.beta if self.operation.center else tf.zeros_like(mean)
        normalised, _, _ = tf.compat.v1.nn.fused_batch_norm(
            maps, scale, offset, mean, variance, self.operation.epsilon, is_training=False
        )
        values[self.outputs[0]] = normalised


def fuse(graph: Graph, kept: Collection[int]) -> tuple[Step | FusedNorm, ...]:
    """Return the graph's steps, with fused ones in the place of those that can be.

    Args:
        kept: slots whose values are wanted for themselves.
    """
    fused = {
        step.outputs: FusedNorm(step, _biased_convolution(graph, step, kept))
        for step in graph.steps
        if _can_be_fused(graph, step)
    }
    swallowed = {one.convolution.outputs for one in fused.values() if one.convolution}
    return tuple(fused.get(step.outputs, step) for step in graph.steps if step.outputs not in swallowed)


def _can_be_fused(graph: Graph, step: Step) -> bool:
    """Tell whether a step normalises the channels of feature maps in float32."""
    layer, rank = step.operation, len(graph.shapes[step.outputs[0]])
    return (
        type(layer) is keras.layers.BatchNormalization
        and rank == 4
        and layer.axis in (-1, rank - 1)
        and _computes_in_float32(step.operation)
    )


def _biased_convolution(graph: Graph, norm: Step, kept: Collection[int]) -> Step | None:
    """Return the convolution with a bias before a normalisation, if nothing else needs its output."""
    (slot,) = norm.inputs
    step = graph.producers.get(slot)
    fits = (
        step is not None
        and type(step.operation) is keras.layers.Conv2D
        and step.operation.use_bias
        and step.operation.activation is keras.activations.linear
        and len(graph.consumers[slot]) == 1
        and slot not in kept
        and _computes_in_float32(step.operation)
    )
    return step if fits else None


def _computes_in_float32(layer: Any) -> bool:
    return layer.compute_dtype == layer.variable_dtype == "float32"
