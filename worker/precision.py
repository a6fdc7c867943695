"""In which precision a model's layers compute; weights and moving averages stay as they are."""

from collections.abc import Iterable
from typing import Any

import keras

_POLICIES = {"mixed_float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
Policies = list[tuple[keras.Layer, Any]]


def stored_policies(model: keras.Model) -> Policies:
    """Return every layer of a model with the policy it was saved with."""
    return [(layer, layer.dtype_policy) for layer in model._flatten_layers(include_self=False)]


def set_precision(policies: Policies, precision: str) -> None:
    """Have all layers compute in `mixed_float16` or `bfloat16`, or for `float32` as they were saved."""
    for layer, policy in policies:
        layer.dtype_policy = _POLICIES.get(precision, policy)


def compute_in_float32(operations: Iterable[Any]) -> None:
    """Have some layers compute in float32: in float16 small gradients that flow back would vanish."""
    for operation in operations:
        if isinstance(operation, keras.Layer):
            for layer in operation._flatten_layers():
                layer.dtype_policy = "float32"
