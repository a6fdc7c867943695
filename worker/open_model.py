"""Whatever kind of Keras model, as the Functional model inside it."""

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import keras

from shared.errors import ModelError


def is_model(operation: Any) -> bool:
    """Tell whether an operation of a graph is a model to be opened."""
    if not isinstance(operation, keras.Model):
        return False
    return _functional(operation) is not None or _traces(operation)


def open_model(model: keras.Model, tensors: Sequence[Any]) -> keras.Model:
    """Return the Functional model inside a model that is called on symbolic tensors.

    Raises:
        ModelError: the model is of a class of its own, and Keras cannot trace its `call`; or it is called
            on another number of tensors than it has inputs.
    """
    functional = _functional(model)
    if functional is None:
        return _trace(model, tensors)
    if len(functional.inputs) != len(tensors):
        raise ModelError(
            f"nested model {model.name!r} is called with {len(tensors)} tensors; it has "
            f"{len(functional.inputs)} inputs."
        )
    return functional


def model_inputs(model: keras.Model, size: tuple[int, int] | None) -> list[Any]:
    """Return a symbolic tensor for each input of a model; image inputs of open size take `size`.

    Raises:
        ModelError: the model does not know its input, or its images' size is open and not given.
    """
    functional = _functional(model)
    known = functional.inputs if functional is not None else _built_on(model)
    if not known:
        raise ModelError(
            f"model {model.name!r} was saved before it knew its input. Begin it with "
            "keras.Input((height, width, channels)), or call it on an image, and save it again."
        )
    return [_of_size(tensor, size) for tensor in known]


def _functional(model: Any) -> Any:
    """Return the Functional inside a Functional or Sequential model, None for anything else."""
    if isinstance(model, keras.Sequential):
        return model._functional
    call = type(model).call
    is_plain = call is keras.Model.call or call is _functional_class().call  # type: ignore[attr-defined]
    return model if hasattr(model, "_nodes_by_depth") and is_plain else None


@cache
def _functional_class() -> type:
    inputs = keras.Input((1,))
    return type(keras.Model(inputs, inputs))


def _built_on(model: keras.Model) -> list[Any]:
    """Return symbolic tensors of the shapes that a model of a class of its own was built on."""
    config = model.get_build_config() or {}
    shapes = config.get("input_shape") or list(config.get("shapes_dict", {}).values())
    one = shapes and not isinstance(shapes[0], list | tuple)
    shapes = shapes.values() if isinstance(shapes, dict) else [shapes] if one else shapes
    return [keras.Input(tuple(shape[1:])) for shape in shapes]


def _of_size(tensor: Any, size: tuple[int, int] | None) -> Any:
    shape = tuple(tensor.shape)
    if len(shape) == 4 and size is not None and shape[3] is not None:
        wanted = tuple(fixed or given for fixed, given in zip(shape[1:3], size, strict=True))
        shape = (shape[0], *wanted, shape[3])
    if None in shape[1:]:
        raise ModelError(
            f"the input {tensor.name!r} has the shape {shape}, which leaves its size open. "
            "Name the images' with --size HEIGHT,WIDTH, or in the spec."
        )
    return keras.Input(batch_shape=(None, *shape[1:]), dtype=tensor.dtype, name=tensor.name)


def _traces(model: keras.Model) -> bool:
    """Tell whether a nested model of a class of its own can be traced; if not, it stays one step."""
    try:
        return bool(_trace(model, _built_on(model)))
    except ModelError:
        return False


def _trace(model: keras.Model, tensors: Sequence[Any]) -> keras.Model:
    """Call a model of a class of its own on symbolic tensors, and take the graph that this leaves."""
    inputs = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in tensors]
    options = {"training": False} if "training" in inspect.signature(model.call).parameters else {}
    try:
        outputs = model.call(inputs[0] if len(inputs) == 1 else inputs, **options)
        traced = keras.Model(inputs, outputs)
    except Exception as error:  # the call is foreign code: it may raise anything, and all of it means this
        text = " ".join(str(error).split())[:300]
        raise ModelError(
            f"model {model.name!r} is a {type(model).__name__}, whose call() Keras cannot trace: "
            f"{type(error).__name__}: {text}. Write it with Keras layers and keras.ops alone, or save the "
            "Functional model in it."
        ) from error
    for operation in traced.operations:
        if not isinstance(operation, keras.Layer):  # its number counts what this process has traced before
            operation.name = type(operation).__name__.lower()
    return traced
