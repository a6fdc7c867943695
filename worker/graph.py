"""A Keras model as a flat list of steps: nested models opened, Sequential or Functional alike."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras

from shared.errors import ModelError


@dataclass(frozen=True)
class Step:
    """One call of one operation.

    Attributes:
        name: the operation's path through nested models, `backbone/block5_conv3`; a second call of the
            same operation is `…:1`.
        arguments: the call's arguments, with symbolic tensors where values go in.
        sources: from a symbolic tensor's id to the slot of its value.
        outputs: the slots of the results.
    """

    name: str
    operation: Any
    arguments: Any
    sources: dict[int, int]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The operation's class name."""
        return type(self.operation).__name__

    @property
    def inputs(self) -> tuple[int, ...]:
        """The slots of the arguments."""
        return tuple(self.sources[id(tensor)] for tensor in self.arguments.keras_tensors)

    def call(self, values: dict[int, Any]) -> None:
        """Compute the results in inference mode from the arguments in `values`, and add them there."""

        def value_of(argument: Any) -> Any:
            return values[self.sources[id(argument)]] if _is_symbolic(argument) else argument

        args, kwargs = self.arguments.convert(value_of)
        if getattr(self.operation, "_call_has_training_arg", False):
            kwargs["training"] = False
        results = keras.tree.flatten(self.operation(*args, **kwargs))
        values.update(zip(self.outputs, results, strict=True))


@dataclass(frozen=True)
class Graph:
    """All steps of a model in the order of computation.

    Attributes:
        inputs: slots of the model's inputs.
        output: slot of its one output.
        shapes: symbolic shape of every slot, the batch axis first.
    """

    inputs: tuple[int, ...]
    output: int
    steps: tuple[Step, ...]
    shapes: dict[int, tuple[int | None, ...]]

    @cached_property
    def producers(self) -> dict[int, Step]:
        """The step that computes each slot."""
        return {slot: step for step in self.steps for slot in step.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Step]]:
        """The steps that use each slot."""
        found: dict[int, list[Step]] = {}
        for step in self.steps:
            for slot in step.inputs:
                found.setdefault(slot, []).append(step)
        return found

    def has_pixels(self, slot: int) -> bool:
        """Tell whether a slot holds feature maps: (batch, height, width, channels) of known size."""
        shape = self.shapes[slot]
        return len(shape) == 4 and None not in shape[1:]

    def upstream(self, slot: int) -> set[int]:
        """Return the slots that a slot's value depends on, itself included."""
        needed = {slot}
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(step.inputs)
        return needed

    def downstream(self, slots: set[int]) -> set[int]:
        """Return the slots whose values depend on any of `slots`, these not included."""
        reached: set[int] = set()
        for step in self.steps:
            if (slots | reached).intersection(step.inputs):
                reached.update(step.outputs)
        return reached


def flatten_model(model: keras.Model) -> Graph:
    """Open a Functional or Sequential model into its steps.

    Raises:
        ModelError: Keras cannot tell the model's graph, or it has several outputs.
    """
    functional = _functional(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise ModelError(
            f"model {model.name!r} is a Sequential that was saved before it knew its input. Begin it with "
            "keras.Input((height, width, channels)), or call it on an image, and save it again."
        )
    if functional is None:
        raise ModelError(
            f"model {model.name!r} is a {type(model).__name__}, a class of its own whose graph Keras does "
            "not know. Functional and Sequential models, nested or not, can be explained."
        )
    if len(functional.outputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {len(functional.outputs)} outputs; one is wanted. "
            "Save the one to explain as keras.Model(model.inputs, model.outputs[0])."
        )
    builder = _Builder()
    slots = {id(tensor): builder.new_slot(tensor) for tensor in functional.inputs}
    inputs = tuple(slots[id(tensor)] for tensor in functional.inputs)
    builder.add(functional, slots, "")
    return Graph(inputs, slots[id(functional.outputs[0])], tuple(builder.steps), builder.shapes)


@dataclass
class _Builder:
    steps: list[Step] = field(default_factory=list)
    shapes: dict[int, tuple[int | None, ...]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def new_slot(self, tensor: Any) -> int:
        slot = len(self.shapes)
        self.shapes[slot] = tuple(tensor.shape)
        return slot

    def add(self, functional: Any, slots: dict[int, int], prefix: str) -> None:
        """Append the steps of a model whose inputs have their slots; `slots` gains all its tensors."""
        by_depth = functional._nodes_by_depth
        for node in (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]):
            if node.is_input or any(id(tensor) not in slots for tensor in node.input_tensors):
                continue
            nested = _functional(node.operation)
            if nested is None:
                self._add_step(node, slots, prefix)
            else:
                self._add_nested(node, nested, slots, f"{prefix}{node.operation.name}")

    def _add_step(self, node: Any, slots: dict[int, int], prefix: str) -> None:
        for tensor in node.outputs:
            slots[id(tensor)] = self.new_slot(tensor)
        path = prefix + node.operation.name
        name = f"{path}:{self.calls[path]}" if self.calls[path] else path
        self.calls[path] += 1
        sources = {id(tensor): slots[id(tensor)] for tensor in node.input_tensors}
        outputs = tuple(slots[id(tensor)] for tensor in node.outputs)
        self.steps.append(Step(name, node.operation, node.arguments, sources, outputs))

    def _add_nested(self, node: Any, nested: Any, slots: dict[int, int], path: str) -> None:
        if len(nested.inputs) != len(node.input_tensors):
            raise ModelError(
                f"nested model {path!r} is called with {len(node.input_tensors)} tensors; it has "
                f"{len(nested.inputs)} inputs."
            )
        pairs = zip(nested.inputs, node.input_tensors, strict=True)
        inner = {id(inside): slots[id(outside)] for inside, outside in pairs}
        self.add(nested, inner, f"{path}/")
        for outside, inside in zip(node.outputs, nested.outputs, strict=True):
            slots[id(outside)] = inner[id(inside)]


def _functional(operation: Any) -> Any:
    """Return the Functional inside a Functional or Sequential model, None for anything else."""
    if isinstance(operation, keras.Sequential):
        return operation._functional
    is_plain = _same_call(operation, keras.Model) or _same_call(operation, _functional_class())
    return operation if hasattr(operation, "_nodes_by_depth") and is_plain else None


def _functional_class() -> type:
    inputs = keras.Input((1,))
    return type(keras.Model(inputs, inputs))


def _same_call(operation: Any, kind: type) -> bool:
    call: Callable[..., Any] | None = getattr(type(operation), "call", None)
    return call is kind.call  # type: ignore[attr-defined]


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)
