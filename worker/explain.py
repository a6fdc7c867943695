"""One compiled function from images to logits, probabilities, targets and attributions."""

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from shared.errors import DeviceMemoryError
from shared.methods import ACTIVATIONS, GRADIENTS, METHODS, POOLED_LINEAR_HEAD
from shared.model_spec import ModelSpec
from shared.request import ExplainRequest
from worker.explained import Explained
from worker.explainers import explainer
from worker.fusion import FusedNorm, fuse
from worker.graph import Step
from worker.model import LoadedModel
from worker.precision import compute_in_float32, set_precision
from worker.scores import explained_scores, pooled_class_weights, scores_of
from worker.targets import choose_targets, predict

log = logging.getLogger(__name__)


class Explainer:
    """Explains batches of one constant size, so that nothing is compiled twice.

    Args:
        xla: compile with XLA, for GPUs. On CPUs TensorFlow's own kernels are faster (docs/performance.md).
    """

    def __init__(
        self, model: LoadedModel, spec: ModelSpec, request: ExplainRequest, batch_size: int, xla: bool = False
    ):
        self.batch_size = batch_size
        self._model = model
        self._spec = spec
        self._request = request
        graph = model.graph
        inputs = [
            tf.TensorSpec((batch_size, *graph.shapes[slot][1:]), graph.tensors[slot].dtype)
            for slot in graph.inputs
        ]
        signature = [inputs, tf.TensorSpec((batch_size, request.targets.ranks), tf.int32)]
        self._plain = tf.function(self._explain, input_signature=signature, autograph=False)
        self._compiled = (
            tf.function(self._explain, input_signature=signature, autograph=False, jit_compile=True)
            if xla
            else self._plain
        )

    def __call__(self, inputs: Sequence[np.ndarray], label_targets: np.ndarray) -> Explained:
        """Explain what the model takes, (batch, …) an input, with int32 (batch, ranks) label targets.

        Returns NumPy arrays; rows that were padding mean nothing.

        Raises:
            DeviceMemoryError: the device's memory does not take such a batch.
        """
        tensors = [tf.constant(one) for one in inputs], tf.constant(label_targets)
        try:
            return tf.nest.map_structure(_to_numpy, self._call(tensors))
        except tf.errors.ResourceExhaustedError as error:
            raise DeviceMemoryError(
                f"the device's memory does not take batches of {self.batch_size} images. "
                "Start the worker with a smaller --batch-size, or ask for fewer layers or targets."
            ) from error

    def _call(self, tensors: tuple[list[Any], Any]) -> Explained:
        try:
            return self._compiled(*tensors)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self._compiled is self._plain:
                raise
            log.warning("XLA cannot compile this model, going on without: %s", str(error).splitlines()[0])
            self._compiled = self._plain
            return self._compiled(*tensors)

    def _explain(self, inputs: list[Any], label_targets: Any) -> Explained:
        """Runs once, when it is compiled."""
        self._set_precision()
        values = dict(zip(self._model.graph.inputs, inputs, strict=True))
        before, behind = self._steps()
        for step in before:
            step.call(values)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            for slot in (slot for slot in self._watched if slot in values):
                values[slot] = tf.cast(values[slot], tf.float32)  # or gradients would be in its precision
                tape.watch(values[slot])
            for step in behind:
                step.call(values)
            logits, probabilities = scores_of(self._model.head, self._spec, values)
            predictions = predict(self._spec, probabilities)
            targets = choose_targets(self._request.targets, predictions, probabilities, label_targets)
            scores = explained_scores(
                self._model.head, self._spec, self._request.score, logits, probabilities, targets
            )
        gradients = self._gradients(tape, scores, values)
        attributions = {
            (method, layer): self._finish(
                self._attribution(method, layer, values, gradients, targets), targets
            )
            for method, layer in self._request.attributions
        }
        return Explained(logits, probabilities, predictions, targets, attributions, self._features(values))

    def _set_precision(self) -> None:
        """Have the layers compute as asked for, and in float32 where gradients flow back through them."""
        graph = self._model.graph
        set_precision(self._model.policies, self._request.precision)
        compute_in_float32(step.operation for step in graph.steps if self._reached.intersection(step.outputs))

    @cached_property
    def _watched(self) -> tuple[int, ...]:
        """The layers' slots whose gradients are asked for and take a tape."""
        slots = (
            self._slot(layer)
            for method, layer in self._request.attributions
            if METHODS[method].needs == GRADIENTS and not self._gradient_is_known(layer)
        )
        return tuple(dict.fromkeys(slots))

    @cached_property
    def _reached(self) -> set[int]:
        """The slots behind the earliest watched layer; where none is watched, behind the last."""
        return self._model.graph.downstream(set(self._watched) or {self._model.head.last})

    def _steps(self) -> tuple[list[Step | FusedNorm], list[Step | FusedNorm]]:
        """Return the steps before the tape, and those that it must see."""
        graph, head, reached = self._model.graph, self._model.head, self._reached
        explained = {self._slot(layer) for layer in self._request.layers}
        steps = fuse(graph, explained | {head.last, head.logits})
        behind = [step for step in steps if reached.intersection(step.outputs)]
        return [step for step in steps if not reached.intersection(step.outputs)], behind

    def _gradient_is_known(self, layer: str) -> bool:
        """Tell whether the gradient needs no tape: pooled linear head, last layer, logits."""
        head = self._model.head
        return head.pooled_linear and self._slot(layer) == head.last and self._request.score == "logit"

    def _slot(self, layer: str) -> int:
        return self._model.explainable[layer].outputs[0]

    def _feature_maps(self, values: dict[int, Any], slot: int) -> Any:
        return tf.cast(values[slot], tf.float32)

    def _gradients(self, tape: Any, scores: list[Any], values: dict[int, Any]) -> dict[int, list[Any]]:
        """Go back once for each rank's score, through all layers; float32 (batch, 1, …) a rank."""
        by_slot: dict[int, list[Any]] = {slot: [] for slot in self._watched}
        for score in scores if by_slot else ():
            found = tape.gradient(score, [values[slot] for slot in by_slot], unconnected_gradients="zero")
            for gradients, one in zip(by_slot.values(), found, strict=True):
                gradients.append(tf.cast(one, tf.float32)[:, None])
        return by_slot

    def _attribution(
        self, method: str, layer: str, values: dict[int, Any], gradients: dict[int, list[Any]], targets: Any
    ) -> Any:
        """Return float32 (batch, ranks, height, width), or (batch, 1, …) where all targets share it."""
        slot, needs = self._slot(layer), METHODS[method].needs
        feature_maps = self._feature_maps(values, slot)
        if needs == ACTIVATIONS:
            return explainer(method)(feature_maps)[:, None]
        if needs == GRADIENTS and not self._gradient_is_known(layer):
            return tf.concat([explainer(method)(feature_maps, one) for one in gradients[slot]], axis=1)
        class_weights = pooled_class_weights(self._model.head, self._spec, targets)
        if needs == POOLED_LINEAR_HEAD:
            return explainer(method)(feature_maps, class_weights)
        num_pixels = feature_maps.shape[1] * feature_maps.shape[2]
        return explainer(method)(feature_maps, class_weights[:, :, None, None, :] / num_pixels)

    def _finish(self, maps: Any, targets: Any) -> Any:
        """Resize if that was asked for, and put NaN where there is no target."""
        if self._request.resolution == "input":
            flat = tf.reshape(maps, (-1, *maps.shape[2:], 1))
            resized = tf.image.resize(flat, self._spec.input.size)
            maps = tf.reshape(resized, (*maps.shape[:2], *self._spec.input.size))
        return tf.where(targets[:, :, None, None] >= 0, maps, np.float32(np.nan))

    def _features(self, values: dict[int, Any]) -> Any:
        if not self._request.save_features:
            return None
        return tf.reduce_mean(self._feature_maps(values, self._model.head.last), axis=(1, 2))


def _to_numpy(tensor: Any) -> Any:
    return None if tensor is None else tensor.numpy()
