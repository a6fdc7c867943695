"""From what the head computes to the scores that are stored and explained."""

from typing import Any

import tensorflow as tf

from shared.model_spec import ModelSpec
from worker.head import Head


def scores_of(head: Head, spec: ModelSpec, values: dict[int, Any]) -> tuple[Any, Any]:
    """Return logits and probabilities, float32 (batch, classes); one sigmoid unit z becomes logits 0, z."""
    logits = head.compute_logits(values)
    if spec.task == "multilabel":
        return logits, tf.sigmoid(logits)
    if _one_sigmoid_unit(head, spec):
        return (
            tf.concat([tf.zeros_like(logits), logits], axis=1),
            tf.concat([tf.sigmoid(-logits), tf.sigmoid(logits)], axis=1),
        )
    return logits, tf.nn.softmax(logits)


def explained_scores(
    head: Head, spec: ModelSpec, score: str, logits: Any, probabilities: Any, targets: Any
) -> list[Any]:
    """Return the score of each rank's target, float32 (batch,) each.

    For one sigmoid unit z the logits explained are -z and z, so that both classes can be.
    """
    scores = probabilities if score == "probability" else logits
    if _one_sigmoid_unit(head, spec) and score == "logit":
        scores = tf.concat([-logits[:, 1:], logits[:, 1:]], axis=1)
    chosen = tf.gather(scores, tf.maximum(targets, 0), batch_dims=1)
    return tf.unstack(chosen, axis=1)


def pooled_class_weights(head: Head, spec: ModelSpec, targets: Any) -> Any:
    """Return float32 (batch, ranks, channels): d logit of each target / d pooled value of a linear head."""
    if head.dense is None:
        by_class = tf.eye(head.outputs)
    else:
        by_class = tf.transpose(tf.cast(tf.convert_to_tensor(head.dense.kernel), tf.float32))
    if _one_sigmoid_unit(head, spec):
        by_class = tf.concat([-by_class, by_class], axis=0)
    return tf.gather(by_class, tf.maximum(targets, 0))


def _one_sigmoid_unit(head: Head, spec: ModelSpec) -> bool:
    return spec.task == "binary" and head.outputs == 1
