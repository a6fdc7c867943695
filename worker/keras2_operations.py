"""TensorFlow functions that Keras 2 stored as layers: arithmetic and slices of a Functional model."""

from typing import Any

import keras
import tensorflow as tf

from shared.errors import ModelError

# of a file nobody vouched for, functions that compute are run, and none that reads, writes or runs code
_ALLOWED = (
    "math.", "nn.", "linalg.", "image.", "broadcast_to", "cast", "clip_by_value", "concat",
    "convert_to_tensor", "expand_dims", "identity", "one_hot", "ones_like", "pad", "repeat", "reshape",
    "reverse", "split", "squeeze", "stack", "tile", "transpose", "unstack", "where", "zeros_like",
)  # fmt: skip
_CONSTANT = "_CONSTANT_VALUE"  # Keras 2's word where the first argument is no tensor
_OPERATORS: dict[str, Any] = {
    "add": lambda x, y: x + y, "radd": lambda x, y: y + x, "neg": lambda x: -x,
    "sub": lambda x, y: x - y, "rsub": lambda x, y: y - x, "pow": lambda x, y: x**y,
    "mul": lambda x, y: x * y, "rmul": lambda x, y: y * x,
    "truediv": lambda x, y: x / y, "rtruediv": lambda x, y: y / x,
    "getitem": lambda x, slice_spec: x[_slices(slice_spec)],
}  # fmt: skip


class StoredOperation(keras.Layer):
    """One call of a TensorFlow function.

    Args:
        function: its name in `tf`, as Keras 2 stored it: `math.truediv`, `__operators__.getitem`.
        arguments: what it is called with besides tensors, by name.
        operands: the parameter's name of each tensor that it is called with; "" for the first parameter,
            which takes a list where several have it.
        leading: the first argument, where it is no tensor.
    """

    def __init__(
        self,
        function: str,
        arguments: dict[str, Any],
        operands: list[str],
        leading: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self._function = _find(function)
        self._arguments = arguments
        self._operands = operands
        self._leading = leading

    def call(self, inputs: Any) -> Any:
        """Compute the function of one tensor or a list of them."""
        tensors = inputs if len(self._operands) > 1 else [inputs]
        pairs = list(zip(self._operands, tensors, strict=True))
        first = [tensor for name, tensor in pairs if not name]
        first = first[0] if len(first) == 1 else first or self._leading
        return self._function(first, **self._arguments, **{name: tensor for name, tensor in pairs if name})


OPERATIONS = {"TFOpLambda": StoredOperation, "SlicingOpLambda": StoredOperation}


def mend_operation(node: dict[str, Any]) -> dict[str, Any]:
    """Rewrite a stored call so that all its tensors are inputs, and all else is in its configuration."""
    (call,) = node["inbound_nodes"]
    first = call if isinstance(call[0], list) else [call]
    arguments = dict(first[0][3]) if len(first[0]) > 3 else {}
    config = {name: node["config"][name] for name in ("name", "trainable", "dtype", "function")}
    if first[0][0] == _CONSTANT:
        config["leading"], first = first[0][2], []
    named = {name: value for name, value in arguments.items() if is_reference(value)}
    config["operands"] = [""] * len(first) + list(named)
    config["arguments"] = {
        name: value
        for name, value in arguments.items()
        if name not in named and (name, value) != ("name", None)
    }
    references = [*first, *named.values()]
    return {**node, "config": config, "inbound_nodes": [[[*one[:3], {}] for one in references]]}


def is_reference(value: Any) -> bool:
    """Tell whether a stored value is the tensor of a layer: [layer, call, output], and perhaps arguments."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and all(isinstance(number, int) for number in value[1:3])
    )


def _find(function: str) -> Any:
    prefix, _, name = function.rpartition(".")
    if prefix == "__operators__" and name in _OPERATORS:
        return _OPERATORS[name]
    if function.startswith(_ALLOWED):
        found: Any = tf
        for part in function.split("."):
            found = getattr(found, part, None)
        if callable(found):
            return found
    raise ModelError(
        f"the model calls tf.{function}, which camshard does not run from a model file. Load the model with "
        "the Keras 2 that made it, replace that call by a layer, and save it again."
    )


def _slices(stored: Any) -> Any:
    """Return what stands in x[…], as Keras 2 stored it: numbers, slices, the ellipsis."""
    if isinstance(stored, list | tuple):
        return tuple(_slices(one) for one in stored)
    if not isinstance(stored, dict):
        return stored
    if stored.get("class_name") == "__ellipsis__":
        return ...
    return slice(stored["start"], stored["stop"], stored["step"])
