"""Which classes of each image are explained, chosen inside the compiled function."""

from typing import Any

import tensorflow as tf

from shared.model_spec import ModelSpec
from shared.request import Targets


def predict(spec: ModelSpec, probabilities: Any) -> Any:
    """Decide from probabilities, float32 (batch, classes), by the spec's thresholds.

    Returns:
        int32 (batch,): the likeliest class; for binary the positive one from its threshold on. For
        multilabel int32 (batch, classes), 1 from each class's threshold on.
    """
    thresholds = tf.constant([spec.threshold(name) for name in spec.classes], tf.float32)
    if spec.task == "multilabel":
        return tf.cast(probabilities >= thresholds, tf.int32)
    if spec.task == "binary":
        return tf.cast(probabilities[:, 1] >= thresholds[1], tf.int32)
    return tf.argmax(probabilities, axis=1, output_type=tf.int32)


def choose_targets(targets: Targets, predictions: Any, probabilities: Any, label_targets: Any) -> Any:
    """Return int32 (batch, ranks) class indices, -1 where an image has none at that rank.

    Args:
        predictions: as `predict` gives them.
        probabilities: float32 (batch, classes).
        label_targets: int32 (batch, ranks), the labels' indices; used for kind `label` alone.
    """
    if targets.kind == "label":
        return label_targets
    if targets.kind == "named":
        return tf.broadcast_to(
            tf.constant(targets.classes, tf.int32), (tf.shape(probabilities)[0], targets.ranks)
        )
    if targets.kind == "top":
        return tf.math.top_k(probabilities, targets.ranks).indices
    if predictions.shape.rank == 2:
        return _over_threshold(targets.ranks, predictions, probabilities)
    return predictions[:, None]


def _over_threshold(ranks: int, predictions: Any, probabilities: Any) -> Any:
    """Rank the predicted classes by probability; where none is, the likeliest class alone."""
    indices = tf.math.top_k(probabilities + tf.cast(predictions, tf.float32), ranks).indices
    counts = (tf.gather(predictions, indices, batch_dims=1) == 1) | (tf.range(ranks) == 0)
    return tf.where(counts, indices, -1)
