"""One compiled function from images to logits, probabilities, targets and attributions."""

import logging
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from shared.model_spec import ModelSpec
from shared.request import ExplainRequest
from worker.explainers.cam import cam, gradcam_of_pooled_linear_head
from worker.explainers.gradient import gradcam
from worker.model import LoadedModel
from worker.targets import choose_targets, predict

log = logging.getLogger(__name__)

_POOLED = {"cam": cam, "gradcam": gradcam_of_pooled_linear_head}
_GRADIENT = {"gradcam": gradcam}


class Explained(NamedTuple):
    """What the compiled function yields for a batch.

    Attributes:
        logits, probabilities: float32 (batch, classes); one sigmoid unit z is stored as 0, z.
        predictions: int32 (batch,) class index; multilabel: (batch, classes), 1 or 0.
        targets: int32 (batch, ranks), -1 none.
        attributions: by (method, layer): float32 (batch, ranks, height, width), NaN where no target.
    """

    logits: Any
    probabilities: Any
    predictions: Any
    targets: Any
    attributions: dict[tuple[str, str], Any]


class Explainer:
    """Explains batches of one constant size, so that nothing is compiled twice."""

    def __init__(self, model: LoadedModel, spec: ModelSpec, request: ExplainRequest, batch_size: int):
        self.batch_size = batch_size
        self._model = model
        self._spec = spec
        self._request = request
        height, width = spec.input.size
        signature = [
            tf.TensorSpec((batch_size, height, width, spec.input.channels), tf.float32),
            tf.TensorSpec((batch_size, request.targets.ranks), tf.int32),
        ]
        self._compiled = tf.function(self._explain, input_signature=signature, jit_compile=True)
        self._plain = tf.function(self._explain, input_signature=signature)

    def __call__(self, images: np.ndarray, label_targets: np.ndarray) -> Explained:
        """Explain float32 (batch, height, width, channels) with int32 (batch, ranks) label targets.

        Returns NumPy arrays; rows that were padding mean nothing.
        """
        inputs = (tf.constant(images), tf.constant(label_targets))
        try:
            explained = self._compiled(*inputs)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if self._compiled is self._plain:
                raise
            log.warning("XLA cannot compile this model, going on without: %s", str(error).splitlines()[0])
            self._compiled = self._plain
            explained = self._compiled(*inputs)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), explained)

    def _explain(self, images: Any, label_targets: Any) -> Explained:
        graph = self._model.graph
        layers = [
            self._slot(layer)
            for method, layer in self._request.attributions
            if not self._is_pooled(method, layer)
        ]
        behind = graph.downstream(set(layers))
        values = {graph.inputs[0]: images}
        for step in graph.steps:
            if not behind.intersection(step.outputs):
                step.call(values)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch([values[slot] for slot in layers if slot in values])
            for step in graph.steps:
                if behind.intersection(step.outputs):
                    step.call(values)
            logits, probabilities = self._scores(values)
            predictions = predict(self._spec, probabilities)
            targets = choose_targets(self._request.targets, predictions, probabilities, label_targets)
            explained = self._explained_scores(logits, probabilities, targets)
        attributions = {}
        for method, layer in self._request.attributions:
            if self._is_pooled(method, layer):
                maps = _POOLED[method](self._feature_maps(values, layer), self._class_weights(targets))
            else:
                maps = self._by_gradient(tape, method, values[self._slot(layer)], explained)
            attributions[method, layer] = self._finish(maps, targets)
        return Explained(logits, probabilities, predictions, targets, attributions)

    def _is_pooled(self, method: str, layer: str) -> bool:
        """Tell whether the gradient is known without a tape: pooled linear head, last layer, logits."""
        head = self._model.head
        at_last = head.pooled_linear and self._slot(layer) == head.last
        return at_last and method in _POOLED and (method == "cam" or self._request.score == "logit")

    def _slot(self, layer: str) -> int:
        return self._model.explainable[layer].outputs[0]

    def _feature_maps(self, values: dict[int, Any], layer: str) -> Any:
        return tf.cast(values[self._slot(layer)], tf.float32)

    def _scores(self, values: dict[int, Any]) -> tuple[Any, Any]:
        """Return logits and probabilities, float32 (batch, classes)."""
        logits = self._model.head.compute_logits(values)
        if self._spec.task == "multilabel":
            return logits, tf.sigmoid(logits)
        if self._spec.task == "binary" and logits.shape[1] == 1:
            return (
                tf.concat([tf.zeros_like(logits), logits], axis=1),
                tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1),
            )
        return logits, tf.nn.softmax(logits)

    def _one_sigmoid_unit(self) -> bool:
        return self._spec.task == "binary" and self._model.head.outputs == 1

    def _explained_scores(self, logits: Any, probabilities: Any, targets: Any) -> list[Any]:
        """Return the score of each rank's target, float32 (batch,) each.

        For one sigmoid unit z the scores are -z and z, so that both classes can be explained.
        """
        scores = probabilities if self._request.score == "probability" else logits
        if self._one_sigmoid_unit() and self._request.score == "logit":
            scores = tf.concat([-logits[:, 1:], logits[:, 1:]], axis=1)
        chosen = tf.gather(scores, tf.maximum(targets, 0), batch_dims=1)
        return tf.unstack(chosen, axis=1)

    def _by_gradient(self, tape: tf.GradientTape, method: str, feature_maps: Any, scores: list[Any]) -> Any:
        maps = [
            _GRADIENT[method](
                tf.cast(feature_maps, tf.float32), tf.cast(tape.gradient(score, feature_maps), tf.float32)
            )
            for score in scores
        ]
        return tf.stack(maps, axis=1)

    def _class_weights(self, targets: Any) -> Any:
        """Return float32 (batch, ranks, channels): d logit of each target / d pooled value."""
        dense = self._model.head.dense
        if dense is None:
            by_class = tf.eye(self._model.head.outputs)
        else:
            by_class = tf.transpose(tf.cast(tf.convert_to_tensor(dense.kernel), tf.float32))
        if self._one_sigmoid_unit():
            by_class = tf.concat([-by_class, by_class], axis=0)
        return tf.gather(by_class, tf.maximum(targets, 0))

    def _finish(self, maps: Any, targets: Any) -> Any:
        """Resize if that was asked for, and put NaN where there is no target."""
        if self._request.resolution == "input":
            flat = tf.reshape(maps, (-1, *maps.shape[2:], 1))
            resized = tf.image.resize(flat, self._spec.input.size)
            maps = tf.reshape(resized, (*maps.shape[:2], *self._spec.input.size))
        return tf.where(targets[:, :, None, None] >= 0, maps, np.float32(np.nan))
